"""A result that is a measurement, not a risk: an Observation (rules 2)."""

import math
from collections.abc import Iterable

from gateway.features.manifest import MeasurementAnswer
from gateway.features.value import InputValue
from gateway.quality.report import Verdict
from gateway.results.answer import AssessmentAnswer, FallbackAnswer, ModelAnswer
from gateway.results.extension import IDENTIFIER_SYSTEM, UCUM
from gateway.results.inputs import input_extensions
from gateway.results.reference import business_identifier, device_url, source_reference, sources_of, subject_of
from gateway.results.risk_assessment import (
    AI_ASSERTED,
    DEVICE_ASSERTED,
    absent_reason,
    answer_extensions,
    fallback_extensions,
    model_status,
    narrative,
    stand_in_note,
)
from gateway.results.words import RUNGS, setting_words, value_words, verdict_words

ABSENT_SYSTEM = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
LABORATORY = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory", "display": "Laboratory"}]
}
_CANCELLED = frozenset({Verdict.INDETERMINATE, Verdict.NOT_APPLICABLE})


def round_half_up(value: float, decimals: int) -> float:
    """Round as laboratories report: half up (data sheet of the equation), not half to even."""
    scale = 10.0**decimals
    return math.floor(value * scale + 0.5) / scale


def measurement_observation(answer: AssessmentAnswer, found: ModelAnswer) -> dict[str, object]:
    """Return the Observation of a model whose result is a measurement."""
    said = found.manifest.measurement
    if said is None:
        raise ValueError("a measurement model declares how its result is written")
    inputs = [found.report.inputs[spec.name] for spec in found.manifest.inputs]
    resource = _observation(answer, found, inputs)
    resource |= {
        "meta": {"security": [AI_ASSERTED if found.predictions else DEVICE_ASSERTED]},
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
        resource["dataAbsentReason"] = {"coding": [{"system": ABSENT_SYSTEM, "code": code}], "text": verdict_words(found)}
    return resource


def fallback_observation(answer: AssessmentAnswer, found: ModelAnswer, fallback: FallbackAnswer) -> dict[str, object]:
    """Return a measured fallback (a laboratory-reported eGFR) under its own name."""
    inputs = list(fallback.inputs.values())
    resource = _observation(answer, found, inputs)
    resource |= {
        "meta": {"security": [DEVICE_ASSERTED]},
        "text": narrative((fallback.title, fallback.outcome_text, *fallback.notes, *(value_words(value) for value in inputs))),
        "extension": [*fallback_extensions(found, fallback), *input_extensions(inputs, answer.base_url)],
        "identifier": [{"system": IDENTIFIER_SYSTEM, "value": business_identifier(answer, found, fallback.score)}],
        "status": "preliminary",
        "code": {"text": fallback.title},
        "method": {"text": fallback.title},
        "device": {"reference": device_url(fallback.score, "1")},
        "note": [{"text": stand_in_note(answer, found, fallback)}],
    }
    if fallback.value is not None:
        resource["valueQuantity"] = {"value": fallback.value, "unit": fallback.unit, "system": UCUM, "code": fallback.unit}
    if fallback.qualitative:
        resource["interpretation"] = [{"text": fallback.qualitative}]
    return resource


def _observation(answer: AssessmentAnswer, found: ModelAnswer, inputs: Iterable[InputValue]) -> dict[str, object]:
    """Return what every Observation of ours has; `found` names nothing here but the category of its result."""
    resource: dict[str, object] = {
        "resourceType": "Observation",
        "category": [LABORATORY],
        "subject": subject_of(answer),
        "effectiveDateTime": answer.as_of.isoformat(),
    }
    derived = [source_reference(source, answer.base_url) for source in sources_of(inputs) if source.resource_type == "Observation"]
    if derived and (found.predictions or found.fallbacks):
        resource["derivedFrom"] = derived
    return resource


def _with_exclusions(found: ModelAnswer, inputs: list[InputValue]) -> list[InputValue]:
    names = (exclusion.name for exclusion in found.manifest.eligibility.exclusions)
    return [*inputs, *(found.report.inputs[name] for name in names if name in found.report.inputs)]


def _quantity(value: float, said: MeasurementAnswer) -> dict[str, object]:
    rounded = round_half_up(value, said.decimals)
    return {"value": int(rounded) if said.decimals == 0 else rounded, "unit": said.unit, "system": UCUM, "code": said.unit_code}


def _note(answer: AssessmentAnswer, found: ModelAnswer) -> str:
    retrospective = " Retrospective: statuses are today's." if answer.retrospective else ""
    return f"Verdict: {verdict_words(found)}. Answered by: {RUNGS[found.rung]}; {setting_words(found.report)}.{retrospective}"


def _lines(answer: AssessmentAnswer, found: ModelAnswer, inputs: Iterable[InputValue]) -> Iterable[str]:
    said = found.manifest.measurement
    yield f"{found.manifest.title} {found.manifest.version}: {verdict_words(found)}"
    if said is not None:
        yield from (f"{round_half_up(prediction.value, said.decimals):g} {said.unit}" for prediction in found.predictions)
    yield from (f"{value.name}: {value_words(value)}" for value in inputs if value.usable)
    yield f"As of {answer.as_of.isoformat()}"
