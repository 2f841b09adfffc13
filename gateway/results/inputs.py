"""Every input an answer rests on, readable in the answer: one complex extension each."""

import math
from collections.abc import Iterable

from gateway.features.value import Evidence, InputValue
from gateway.results.extension import INPUT, UCUM, code_extension, string_extension
from gateway.results.reference import source_reference


def input_extension(value: InputValue, base_url: str | None) -> dict[str, object]:
    """Return one input with state, value, time, raw value, reasons and source."""
    parts: list[dict[str, object]] = [string_extension("name", value.name), code_extension("state", value.state.value)]
    if value.value is not None and math.isfinite(value.value):
        parts.append({"url": "value", "valueQuantity": quantity(value.value, value.unit)})
    if value.time is not None:
        parts.append({"url": "time", "valueInstant": value.time.isoformat()})
    if value.text:
        parts.append(string_extension("text", value.text))
    parts += (string_extension("reason", str(reason)) for reason in value.reasons)
    for evidence in value.evidence:
        raw = _raw(evidence)
        if raw:
            parts.append(string_extension("raw", raw))
        parts.append({"url": "source", "valueReference": source_reference(evidence.source, base_url)})
    return {"url": INPUT, "extension": parts}


def input_extensions(values: Iterable[InputValue], base_url: str | None) -> list[dict[str, object]]:
    """Return one extension for each input."""
    return [input_extension(value, base_url) for value in values]


def quantity(value: float, unit: str) -> dict[str, object]:
    """Return a Quantity in a UCUM unit."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _raw(evidence: Evidence) -> str:
    if evidence.raw_value is None:
        return ""
    return f"{evidence.raw_value} {evidence.raw_unit}" if evidence.raw_unit else str(evidence.raw_value)
