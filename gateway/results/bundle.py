"""The answer of `$assess-risk`: a collection Bundle of RiskAssessments, Observations and the Devices they name (rules 2)."""

from collections.abc import Iterable

from gateway.results.answer import AssessmentAnswer, FallbackAnswer, ModelAnswer
from gateway.results.check import checked
from gateway.results.device import model_device, score_device
from gateway.results.measurement import fallback_observation, measurement_observation
from gateway.results.reference import device_url, full_url
from gateway.results.risk_assessment import fallback_risk_assessment, model_risk_assessment


def render_bundle(answer: AssessmentAnswer) -> dict[str, object]:
    """Return the Bundle, ready for a JSON encoder. Every resource in it was validated and checked.

    Raises:
        gateway.results.check.InvalidAnswer: a resource we made is not valid FHIR: a defect of ours, and nothing may be answered.
    """
    entries: dict[str, dict[str, object]] = {}
    for found in answer.answers:
        for url, resource in _resources(answer, found):
            entries.setdefault(url, resource)
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": answer.answered_at.isoformat(),
        "entry": [{"fullUrl": url, "resource": resource} for url, resource in entries.items()],
    }


def _resources(answer: AssessmentAnswer, found: ModelAnswer) -> Iterable[tuple[str, dict[str, object]]]:
    name = found.manifest.name
    render = measurement_observation if found.manifest.result == "measurement" else model_risk_assessment
    yield full_url(answer, name), checked(render(answer, found))
    for fallback in found.fallbacks:
        yield full_url(answer, f"{name}|{fallback.score}"), checked(render_fallback(answer, found, fallback))
    yield device_url(name, found.manifest.version), model_device(found)
    for fallback in found.fallbacks:
        yield device_url(fallback.score, "1"), score_device(fallback)


def render_fallback(answer: AssessmentAnswer, found: ModelAnswer, fallback: FallbackAnswer) -> dict[str, object]:
    """Return a fallback's resource: a probability (unit 1) is a RiskAssessment, anything else an Observation."""
    if fallback.unit == "1":
        return fallback_risk_assessment(answer, found, fallback)
    return fallback_observation(answer, found, fallback)
