"""The Device that answered: one per model release, one per published score."""

import functools
from typing import NamedTuple

from gateway.results.answer import FallbackAnswer, ModelAnswer
from gateway.results.check import checked
from gateway.results.extension import MODEL_SYSTEM, SCORE_SYSTEM
from gateway.results.risk_assessment import AI_ASSERTED, DEVICE_ASSERTED, narrative

# HL7 AI Transparency on FHIR: an AI device's type is exactly this code.
AI_DEVICE_TYPE = {
    "coding": [{"system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS", "code": "Artificial-Intelligence"}],
    "text": "Artificial intelligence",
}


class _Release(NamedTuple):
    """Everything a model's Device says: it is the same for every patient, so it is built and checked once per release."""

    name: str
    version: str
    title: str
    publisher: str
    intended_use: str
    citation: str
    limitations: tuple[str, ...]
    graph_sha256: str
    runtime: str


def model_device(found: ModelAnswer) -> dict[str, object]:
    """Return the Device of a model release; its parts are shared between answers and must not be changed.

    Raises:
        gateway.results.check.InvalidAnswer: what the manifest says does not make a valid Device.
    """
    manifest, release = found.manifest, found.release
    return dict(
        _model_device(
            _Release(
                manifest.name,
                manifest.version,
                manifest.title,
                manifest.publisher,
                manifest.intended_use,
                manifest.citation,
                manifest.limitations,
                release.graph_sha256,
                release.runtime,
            )
        )
    )


def score_device(fallback: FallbackAnswer) -> dict[str, object]:
    """Return the Device of a published rule-based score; its parts are shared between answers and must not be changed."""
    return dict(_score_device(fallback.score, fallback.title, fallback.citation))


@functools.lru_cache(maxsize=256)
def _model_device(release: _Release) -> dict[str, object]:
    versions = [{"value": release.version}, {"type": {"text": "SHA-256 of the graph"}, "value": release.graph_sha256}]
    if release.runtime:
        versions.append({"type": {"text": "runtime"}, "value": release.runtime})
    device: dict[str, object] = {
        "resourceType": "Device",
        "meta": {"security": [AI_ASSERTED]},
        "text": narrative((f"{release.title} {release.version}", release.intended_use, release.citation)),
        "identifier": [{"system": MODEL_SYSTEM, "value": f"{release.name}@{release.version}"}],
        "manufacturer": release.publisher,
        "deviceName": [{"name": release.title, "type": "model-name"}],
        "type": AI_DEVICE_TYPE,
        "version": versions,
    }
    if release.limitations:
        device["note"] = [{"text": limitation} for limitation in release.limitations]
    return checked(device)


@functools.lru_cache(maxsize=256)
def _score_device(score: str, title: str, citation: str) -> dict[str, object]:
    return checked(
        {
            "resourceType": "Device",
            "meta": {"security": [DEVICE_ASSERTED]},
            "text": narrative((title, citation)),
            "identifier": [{"system": SCORE_SYSTEM, "value": score}],
            "deviceName": [{"name": title, "type": "model-name"}],
            "type": {"text": "Published rule-based score"},
            "note": [{"text": citation}],
        }
    )
