"""Every input an answer rests on, readable in the answer: one complex extension each."""

import math
from collections.abc import Iterable, Mapping

from gateway.features.value import Evidence, InputValue
from gateway.results.extension import INPUT, UCUM, plain_text
from gateway.results.reference import source_reference


def input_extension(value: InputValue, base_url: str | None) -> dict[str, object]:
    """Return one input with state, value, time, raw value, reasons and source."""
    parts: list[dict[str, object]] = [{"url": "name", "valueString": value.name}, {"url": "state", "valueCode": value.state.value}]
    if value.value is not None and math.isfinite(value.value):
        parts.append({"url": "value", "valueQuantity": quantity(value.value, value.unit)})
    if value.interval is not None:
        ends = zip(("low", "high"), value.interval, strict=True)
        parts += ({"url": end, "valueDecimal": bound} for end, bound in ends if math.isfinite(bound))
    if value.time is not None:
        parts.append({"url": "time", "valueInstant": value.time.isoformat()})
    if value.text and (text := plain_text(value.text)):
        parts.append({"url": "text", "valueString": text})
    if value.lineage:
        parts.append({"url": "lineage", "valueString": lineage_words(value.lineage)})
    for reason in value.reasons:
        parts.append({"url": "reason", "valueString": plain_text(str(reason))})
    for evidence in value.evidence:
        raw = _raw(evidence)
        if raw:
            parts.append({"url": "raw", "valueString": raw})
        parts.append({"url": "source", "valueReference": source_reference(evidence.source, base_url)})
    return {"url": INPUT, "extension": parts}


def input_extensions(values: Iterable[InputValue], base_url: str | None) -> list[dict[str, object]]:
    """Return one extension for each input."""
    return [input_extension(value, base_url) for value in values]


def quantity(value: float, unit: str) -> dict[str, object]:
    """Return a Quantity in a UCUM unit, or without one where none is declared."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit} if unit else {"value": value}


def lineage_words(lineage: Mapping[str, str]) -> str:
    """Return which model computed an input, as `model@version sha256`."""
    return " ".join(filter(None, ("@".join(filter(None, (lineage.get("model"), lineage.get("version")))), lineage.get("sha256"))))


def _raw(evidence: Evidence) -> str:
    if evidence.raw_value is None:
        return ""
    return plain_text(f"{evidence.raw_value} {evidence.raw_unit}" if evidence.raw_unit else str(evidence.raw_value))
