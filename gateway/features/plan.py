"""What to ask a FHIR server for: exactly what the models' declared inputs can use (minimum necessary), at most one search per group.

No search has a date filter: a value that is too old must be seen as old, not as absent, and a pulled record must read like the same
record handed over inline.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from gateway.features.extract import concepts_of
from gateway.features.manifest import (
    Choice,
    ConditionPresent,
    CurrentMedication,
    Feature,
    ModelManifest,
    ModelOutput,
    ProcedureInStay,
    ProceduresCounted,
)
from gateway.fhir.group import Group
from gateway.fhir.plan import FetchPlan, Search
from gateway.terminology import Terminology

ObservationMode = Literal["code", "category"]

# A component's own code finds no panel on most servers: the panel is asked for by its own codes (codes table, rows `container`).
PANEL_OF = {"sbp": "bp_panel", "dbp": "bp_panel"}
# FHIR observation-category; smoking status is filed as a survey by some systems.
_CATEGORIES = {Group.VITAL_SIGNS: "vital-signs", Group.LABORATORY: "laboratory", Group.SOCIAL_HISTORY: "social-history,survey"}
_BY_PATIENT = {
    Group.CONDITIONS: Search(group=Group.CONDITIONS, resource_type="Condition"),
    Group.MEDICATIONS: Search(
        group=Group.MEDICATIONS, resource_type="MedicationRequest", parameters=(("_include", "MedicationRequest:medication"),)
    ),
    # What a patient takes is often told there alone: lists of home medication, prescriptions of others.
    Group.MEDICATION_STATEMENTS: Search(
        group=Group.MEDICATION_STATEMENTS,
        resource_type="MedicationStatement",
        parameters=(("_include", "MedicationStatement:medication"),),
    ),
    Group.ENCOUNTERS: Search(group=Group.ENCOUNTERS, resource_type="Encounter"),
    Group.PROCEDURES: Search(group=Group.PROCEDURES, resource_type="Procedure"),
}


def compile_plan(manifests: Iterable[ModelManifest], terminology: Terminology, observation_mode: ObservationMode = "code") -> FetchPlan:
    """Return the searches for these models. A model that reads another model's output needs that model among `manifests`.

    `observation_mode`: `category` for a server that cannot search Observations by code.

    Raises:
        KeyError: a manifest names a concept that the terminology does not have.
    """
    features = [feature for manifest in manifests for feature in features_of(manifest)]
    concepts = {concept for feature in features for concept in concepts_of(feature)}
    codes = _codes_by_group(concepts, terminology)
    searches = [
        Search(group=group, resource_type="Observation", parameters=(by_code if observation_mode == "code" else _by_category(group),))
        for group in _CATEGORIES
        if group in codes
        for by_code in [_by_code(codes[group])]
    ]
    searches += (search for group, search in _BY_PATIENT.items() if group in _groups_beside(features))
    return FetchPlan(searches=tuple(searches))


def concepts_read(manifests: Iterable[ModelManifest]) -> frozenset[str]:
    """Return the measured concepts that these models read."""
    return frozenset(concept for manifest in manifests for feature in features_of(manifest) for concept in concepts_of(feature))


def features_of(manifest: ModelManifest) -> Iterator[Feature]:
    """Yield every feature of a manifest: inputs, exclusions, findings, inputs of fallbacks; the options of a choice one by one."""
    specs = [*manifest.inputs, *(spec for fallback in manifest.fallbacks for spec in fallback.features)]
    for spec in specs:
        if isinstance(spec.feature, Choice):
            yield from spec.feature.options
        else:
            yield spec.feature
    yield from (exclusion.feature for exclusion in manifest.eligibility.exclusions)
    yield from (finding.feature for finding in manifest.findings)


def models_read(manifest: ModelManifest) -> tuple[ModelOutput, ...]:
    """Return the outputs of other models that a manifest reads, for its own inputs or for a fallback."""
    return tuple(feature for feature in features_of(manifest) if isinstance(feature, ModelOutput))


def _codes_by_group(concepts: set[str], terminology: Terminology) -> dict[Group, set[str]]:
    panels = {PANEL_OF[concept] for concept in concepts if concept in PANEL_OF}
    codes: dict[Group, set[str]] = {}
    for name in concepts | panels:
        concept = terminology.concept(name)
        codes.setdefault(concept.group, set()).update(f"{code.system}|{code.code}" for code in concept.codes)
    return codes


def _by_code(codes: set[str]) -> tuple[str, str]:
    return "code", ",".join(sorted(codes))


def _by_category(group: Group) -> tuple[str, str]:
    return "category", _CATEGORIES[group]


def _groups_beside(features: Iterable[Feature]) -> set[Group]:
    """Return the groups other than Observations. Encounters are always among them: the care setting comes from the open one."""
    groups = {Group.ENCOUNTERS}
    for feature in features:
        if isinstance(feature, ConditionPresent):
            groups.add(Group.CONDITIONS)
            if feature.procedures:
                groups.add(Group.PROCEDURES)
        elif isinstance(feature, CurrentMedication):
            groups |= {Group.MEDICATIONS, Group.MEDICATION_STATEMENTS}
        elif isinstance(feature, ProceduresCounted | ProcedureInStay):
            groups |= {Group.CONDITIONS, Group.PROCEDURES}
    return groups
