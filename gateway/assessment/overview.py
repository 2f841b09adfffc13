"""What was understood of a record, concept by concept, whichever models are released: for `gateway record show`.

Every concept of the terminology is read as the simplest operator allows: the newest usable value, a coded category, a condition by the
absence rule, a current medication. Models may read the same record with other rules; this is what the record itself says.
"""

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec

from gateway.assessment.assess import Gateway, audited, fetch_record, resolve_as_of
from gateway.assessment.request import AssessmentRequest
from gateway.features.context import Chart, RecordIndex
from gateway.features.extract import extract_inputs
from gateway.features.manifest import (
    CodedCategory,
    ConditionPresent,
    CurrentMedication,
    Eligibility,
    Feature,
    InputSpec,
    ModelManifest,
    Newest,
    Range,
    Setting,
)
from gateway.features.value import InputValue
from gateway.fhir.group import OBSERVATION_GROUPS, Group
from gateway.quality.grading import grade_inputs
from gateway.quality.setting import care_setting
from gateway.record import build_record, hide_later
from gateway.record.values import Dropped, PatientRecord
from gateway.terminology import Concept, Terminology

# Rules of the code table that a bare "is it recorded?" would miss; sources: the columns of the table and rules 3 and 4.
CONDITION_RULES: Mapping[str, ConditionPresent] = {
    "diabetes": ConditionPresent(group="diabetes", scope="ever", not_groups=("diabetes_NOT",)),
    "prior_cvd": ConditionPresent(group="prior_cvd", scope="ever", procedures=True, unconfirmed="prior_cvd_unconfirmed"),
    "pregnancy": ConditionPresent(group="pregnancy", within_days=300),
    "kidney_replacement": ConditionPresent(group="kidney_replacement", scope="ever", procedures=True),
    "aki": ConditionPresent(group="aki", scope="ever", within_days=90),
}
CATEGORIES: Mapping[str, CodedCategory] = {
    "smoking": CodedCategory(concept="smoking", values={"smoking_current": 1.0, "smoking_no": 0.0}, unknown=("smoking_unknown",)),
}
# Rows of the code table that name the value of an Observation, not a finding of their own.
VALUE_GROUPS = frozenset(
    {
        "smoking_current",
        "smoking_no",
        "smoking_unknown",
        "diabetes_NOT",
        "acvpu_alert",
        "acvpu_confusion",
        "acvpu_voice",
        "acvpu_pain",
        "acvpu_unresponsive",
        "acvpu_scale",
        "loc_acvpu",
        "room_air",
        "on_oxygen",
        "news2_total",
        "news_total_precomputed",
    }
)

# "n/a" in the code table says that no model reads the concept in that care setting. The record holds it all the same, and it is shown.
SHOWN_DAYS_MAX = 366.0 * 150


def overview_manifest(terminology: Terminology) -> ModelManifest:
    """Return a manifest without outputs whose inputs are the concepts of the terminology."""
    inputs = tuple(spec for concept in terminology.concepts.values() for spec in _specs(concept))
    return ModelManifest(
        schema_version=1,
        name="record",
        version="1",
        title="What the record says",
        publisher="",
        citation="",
        doi="",
        licence="",
        intended_use="",
        limitations=(),
        dsi_class="evidence-based",
        result="measurement",
        inputs=inputs,
        outputs=(),
        eligibility=Eligibility(age_years=Range(low=0, high=200)),
        result_tensor="",
    )


def _specs(concept: Concept) -> Iterable[InputSpec]:
    feature = _feature(concept)
    if feature is not None:
        yield InputSpec(
            name=concept.name,
            tensor=concept.name,
            concept=concept.name,
            unit=concept.unit or "1",
            feature=feature,
            age_days_max={setting: SHOWN_DAYS_MAX for setting, limit in concept.ages.items() if not limit.applicable},
        )


def _feature(concept: Concept) -> Feature | None:
    if concept.name in VALUE_GROUPS:
        return None
    if concept.name in CATEGORIES:
        return CATEGORIES[concept.name]
    if concept.group in OBSERVATION_GROUPS:
        return Newest(concept=concept.name) if concept.unit and not concept.container and not concept.coded else None
    if concept.group is Group.CONDITIONS:
        return CONDITION_RULES.get(concept.name, ConditionPresent(group=concept.name))
    if concept.group is Group.MEDICATIONS:
        return CurrentMedication(group=concept.name)
    return None


def read_overview(
    record: PatientRecord, terminology: Terminology, manifest: ModelManifest, *, as_of: dt.datetime, setting: Setting
) -> Mapping[str, InputValue]:
    """Return every concept as found in the record (already hidden after `as_of`), graded for age by the terminology's limits."""
    chart = Chart(RecordIndex(record, terminology, as_of), setting)
    return grade_inputs(manifest, extract_inputs(manifest, chart), as_of, setting).inputs


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """One record as understood, at one time."""

    patient_id: str
    as_of: dt.datetime
    inputs: Mapping[str, InputValue]
    dropped: tuple[Dropped, ...]


async def show_record(request: AssessmentRequest, gateway: Gateway) -> Overview:
    """Fetch (or take) a record and read every concept of it; opens and closes an audit entry like any assessment.

    Raises:
        gateway.errors.GatewayError: the Patient could not be had, or the audit record is not durable.
    """
    as_of, _ = resolve_as_of(request, gateway.clock.now())
    manifest = overview_manifest(gateway.terminology)
    async with audited(request, gateway, as_of) as entry:
        if request.pulls:
            await entry.open()
        fetched = await fetch_record(request, gateway, (manifest,))
        record = hide_later(build_record(fetched, gateway.terminology), as_of)
        setting, _ = care_setting(request.setting, record, as_of, manifest)
        inputs = read_overview(record, gateway.terminology, manifest, as_of=as_of, setting=setting)
        await entry.close_shown(inputs)
    return Overview(patient_id=request.patient_id, as_of=as_of, inputs=inputs, dropped=record.dropped)
