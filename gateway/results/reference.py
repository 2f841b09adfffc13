"""References to the tenant's resources, and identifiers that derive from what was answered."""

import functools
import re
import uuid
from collections.abc import Iterable

import orjson

from gateway.features.value import InputValue
from gateway.record.values import SourceRef
from gateway.results.answer import AssessmentAnswer, ModelAnswer
from gateway.results.extension import RESOURCE_SHA256, plain_text, string_extension

# Namespace of our uuid5 ids: made once, means nothing but "ours".
NAMESPACE = uuid.UUID("6f1a2c36-6d0f-5a7b-9f5e-2a0a4f6f7c11")

_is_fhir_id = re.compile(r"[A-Za-z0-9\-.]{1,64}").fullmatch  # R4 datatype id; a version is one as well


def absolute(base_url: str | None, relative: str) -> str:
    """Return a reference on the tenant's FHIR base, or the relative one where there is none."""
    return f"{base_url.rstrip('/')}/{relative}" if base_url else relative


def subject_of(answer: AssessmentAnswer) -> dict[str, object]:
    """Return the reference to the patient."""
    return _reference("Patient", answer.patient_id, None, answer.base_url)


def source_reference(source: SourceRef, base_url: str | None) -> dict[str, object]:
    """Return a versioned reference, or an unversioned one with the digest of the resource as received.

    A resource handed over without an id, or with one that FHIR does not allow, has no address: it is named by type and digest alone.
    """
    reference = _reference(source.resource_type, source.id, source.version, base_url)
    if source.version is None and source.sha256 is not None:
        reference["extension"] = [string_extension(RESOURCE_SHA256, source.sha256)]
    return reference


def _reference(resource_type: str, resource_id: str, version: str | None, base_url: str | None) -> dict[str, object]:
    if not _is_fhir_id(resource_id):
        known = plain_text(resource_id)
        named: dict[str, object] = {"identifier": {"value": known}} if known else {"display": "received without an id"}
        return {"type": resource_type, **named}
    history = f"/_history/{version}" if version is not None and _is_fhir_id(version) else ""
    return {"reference": absolute(base_url, f"{resource_type}/{resource_id}{history}")}


def sources_of(values: Iterable[InputValue]) -> tuple[SourceRef, ...]:
    """Return the resources that used inputs rest on, each once."""
    return tuple(dict.fromkeys(evidence.source for value in values if value.usable for evidence in value.evidence))


def full_url(answer: AssessmentAnswer, name: str) -> str:
    """Return the urn:uuid of one resource of this answer."""
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, f'{answer.assessment_id}|{name}')}"


@functools.lru_cache(maxsize=256)
def device_url(name: str, version: str) -> str:
    """Return the urn:uuid of a release's Device: the same for every answer of the release."""
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, f'device|{name}|{version}')}"


def business_identifier(answer: AssessmentAnswer, found: ModelAnswer, name: str) -> str:
    """Return an identifier that the same release gives for the same patient, day, inputs and verdict: for conditional create.

    The states of the inputs, the verdict and its reasons belong to it: an answer after a failed run is not the failure it repairs.
    """
    inputs = [(value.name, value.state, value.value, value.time) for value in found.report.inputs.values()]
    judged = (found.verdict, found.report.setting, [plain_text(str(reason)) for reason in found.report.reasons])
    release = (name, found.release.graph_sha256, found.release.manifest_sha256)
    key = orjson.dumps((release, judged, answer.base_url, plain_text(answer.patient_id), answer.as_of.date(), inputs))
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, key.decode())}"
