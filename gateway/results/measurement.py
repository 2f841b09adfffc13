"""A result that is a measurement, not a risk: an Observation (rules 2)."""

import re
from collections.abc import Iterable

from gateway.features.manifest import MeasurementAnswer
from gateway.features.value import InputValue
from gateway.quality.report import Verdict
from gateway.results.answer import AssessmentAnswer, FallbackAnswer, ModelAnswer
from gateway.results.extension import IDENTIFIER_SYSTEM, UCUM, plain_text
from gateway.results.inputs import input_extensions
from gateway.results.number import round_half_up
from gateway.results.reference import business_identifier, device_url, source_reference, sources_of, subject_of
from gateway.results.risk_assessment import (
    AI_ASSERTED,
    DEVICE_ASSERTED,
    RETROSPECTIVE,
    absent_reason,
    answer_extensions,
    fallback_extensions,
    model_status,
    narrative,
    stand_in_note,
)
from gateway.results.words import RUNGS, setting_words, value_words, verdict_words
from gateway.scores import SCORES

LOINC = "http://loinc.org"
_is_loinc = re.compile(r"[0-9]{1,7}-[0-9]").fullmatch  # a laboratory's own code is not written under LOINC's name
ABSENT_SYSTEM = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
LABORATORY = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory", "display": "Laboratory"}]
}
_CANCELLED = frozenset({Verdict.INDETERMINATE, Verdict.NOT_APPLICABLE})


def measurement_observation(answer: AssessmentAnswer, found: ModelAnswer) -> dict[str, object]:
    """Return the Observation of a model whose result is a measurement."""
    said = found.manifest.measurement
    if said is None:
        raise ValueError("a measurement model declares how its result is written")
    inputs = [found.report.inputs[spec.name] for spec in found.manifest.inputs]
    resource = _observation(answer, inputs if found.predictions else ())
    resource |= {
        "meta": {"security": [AI_ASSERTED]},
        "text": narrative(_lines(answer, found, inputs)),
        "extension": [*answer_extensions(found), *input_extensions(_with_exclusions(found, inputs), answer.base_url)],
        "identifier": [{"system": IDENTIFIER_SYSTEM, "value": business_identifier(answer, found, found.manifest.name)}],
        "status": "cancelled" if found.report.verdict in _CANCELLED and not found.predictions else model_status(found),
        "code": {"coding": [{"system": said.code.system, "code": said.code.code, "display": said.code.display}]},
        "method": {"text": f"{found.manifest.title} {found.manifest.version}"},
        "device": {"reference": device_url(found.manifest.name, found.manifest.version)},
        "note": [{"text": _note(answer, found)}],
    }
    if found.predictions:
        resource["valueQuantity"] = _quantity(found.predictions[0].value, said)
    else:
        code = absent_reason(found.report.verdict, found.report.reasons)
        resource["dataAbsentReason"] = {"coding": [{"system": ABSENT_SYSTEM, "code": code}], "text": plain_text(verdict_words(found))}
    return resource


def fallback_observation(answer: AssessmentAnswer, found: ModelAnswer, fallback: FallbackAnswer) -> dict[str, object]:
    """Return a measured fallback (a laboratory-reported eGFR) under its own name."""
    inputs = list(fallback.inputs.values())
    resource = _observation(answer, inputs)
    resource |= {
        "meta": {"security": [DEVICE_ASSERTED]},
        "text": narrative((fallback.title, fallback.outcome_text, *fallback.notes, *(value_words(value) for value in inputs))),
        "extension": [*fallback_extensions(found, fallback), *input_extensions(inputs, answer.base_url)],
        "identifier": [{"system": IDENTIFIER_SYSTEM, "value": business_identifier(answer, found, fallback.score)}],
        "status": "preliminary",
        "code": _reported_code(fallback),
        "method": {"text": fallback.title},
        "device": {"reference": device_url(fallback.score, "1")},
        "note": [{"text": stand_in_note(answer, found, fallback)}],
    }
    if fallback.value is not None:
        resource["valueQuantity"] = {"value": fallback.value, "unit": fallback.unit, "system": UCUM, "code": fallback.unit}
    if fallback.qualitative:
        resource["interpretation"] = [{"text": fallback.qualitative}]
    return resource


def _reported_code(fallback: FallbackAnswer) -> dict[str, object]:
    """Return the score's name, with the LOINC code under which the laboratory reported the number where the score reads that code."""
    said: dict[str, object] = {"text": fallback.title}
    score = SCORES.get(fallback.score)
    for parameter, value in fallback.inputs.items():
        code = value.evidence[0].code if value.evidence else None
        if code is not None and _is_loinc(code) and score is not None and f"{parameter}_loinc" in score.optional:
            said["coding"] = [{"system": LOINC, "code": code}]
    return said


def _observation(answer: AssessmentAnswer, used: Iterable[InputValue]) -> dict[str, object]:
    """Return what every Observation of ours has; `used` are the inputs its number rests on."""
    resource: dict[str, object] = {
        "resourceType": "Observation",
        "category": [LABORATORY],
        "subject": subject_of(answer),
        "effectiveDateTime": answer.as_of.isoformat(),
    }
    derived = [source_reference(source, answer.base_url) for source in sources_of(used) if source.resource_type == "Observation"]
    if derived:
        resource["derivedFrom"] = derived
    return resource


def _with_exclusions(found: ModelAnswer, inputs: list[InputValue]) -> list[InputValue]:
    names = (exclusion.name for exclusion in found.manifest.eligibility.exclusions)
    return [*inputs, *(found.report.inputs[name] for name in names if name in found.report.inputs)]


def _quantity(value: float, said: MeasurementAnswer) -> dict[str, object]:
    rounded = round_half_up(value, said.decimals)
    return {"value": int(rounded) if said.decimals == 0 else rounded, "unit": said.unit, "system": UCUM, "code": said.unit_code}


def _note(answer: AssessmentAnswer, found: ModelAnswer) -> str:
    parts = [f"Verdict: {verdict_words(found)}.", f"Answered by: {RUNGS[found.rung]}; {setting_words(found.report)}."]
    if found.rung_reason:
        parts.append(f"A lower step of the ladder answered because {found.rung_reason}.")
    if answer.retrospective:
        parts.append(RETROSPECTIVE)
    return plain_text(" ".join(parts))


def _lines(answer: AssessmentAnswer, found: ModelAnswer, inputs: Iterable[InputValue]) -> Iterable[str]:
    said = found.manifest.measurement
    yield f"{found.manifest.title} {found.manifest.version}: {verdict_words(found)}"
    if said is not None:
        yield from (f"{round_half_up(prediction.value, said.decimals):g} {said.unit}" for prediction in found.predictions)
    yield from (f"{value.name}: {value_words(value)}" for value in inputs if value.usable)
    yield f"As of {answer.as_of.isoformat()}"
