"""The Device that answered: one per model release, one per published score."""

from gateway.results.answer import FallbackAnswer, ModelAnswer
from gateway.results.extension import MODEL_SYSTEM, SCORE_SYSTEM
from gateway.results.risk_assessment import AI_ASSERTED, DEVICE_ASSERTED, narrative

# HL7 AI Transparency on FHIR: an AI device's type is exactly this code.
AI_DEVICE_TYPE = {
    "coding": [{"system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS", "code": "Artificial-Intelligence"}],
    "text": "Artificial intelligence",
}


def model_device(found: ModelAnswer) -> dict[str, object]:
    """Return the Device of a model release."""
    manifest, release = found.manifest, found.release
    versions = [{"value": manifest.version}, {"type": {"text": "SHA-256 of the graph"}, "value": release.graph_sha256}]
    if release.runtime:
        versions.append({"type": {"text": "runtime"}, "value": release.runtime})
    return {
        "resourceType": "Device",
        "meta": {"security": [AI_ASSERTED]},
        "text": narrative((f"{manifest.title} {manifest.version}", manifest.intended_use, manifest.citation)),
        "identifier": [{"system": MODEL_SYSTEM, "value": f"{manifest.name}@{manifest.version}"}],
        "manufacturer": manifest.publisher,
        "deviceName": [{"name": manifest.title, "type": "model-name"}],
        "type": AI_DEVICE_TYPE,
        "version": versions,
        "note": [{"text": limitation} for limitation in manifest.limitations],
    }


def score_device(fallback: FallbackAnswer) -> dict[str, object]:
    """Return the Device of a published rule-based score."""
    return {
        "resourceType": "Device",
        "meta": {"security": [DEVICE_ASSERTED]},
        "text": narrative((fallback.title, fallback.citation)),
        "identifier": [{"system": SCORE_SYSTEM, "value": fallback.score}],
        "deviceName": [{"name": fallback.title, "type": "model-name"}],
        "type": {"text": "Published rule-based score"},
        "note": [{"text": fallback.citation}],
    }
