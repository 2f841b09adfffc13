"""An answer in words, read from the FHIR resources as any caller reads them."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

WIDTH_CHARS = 130
PREDICTIONS_SHOWN = 2
_NO_NUMBER = "no number. "
_NOT_THERE = frozenset({"missing"})
_USED = frozenset({"valid", "assumed", "concluded-absent"})


class _Note(msgspec.Struct):
    text: str


class _Prediction(msgspec.Struct):
    rationale: str = ""


class _Quantity(msgspec.Struct):
    value: float
    unit: str = ""


class _Extension(msgspec.Struct, rename="camel"):
    url: str
    value_string: str = ""
    value_code: str = ""
    value_instant: str = ""
    value_quantity: _Quantity | None = None
    extension: list["_Extension"] = []


class _Method(msgspec.Struct):
    text: str = ""


class _Resource(msgspec.Struct, rename="camel"):
    resource_type: str
    status: str = ""
    method: _Method = msgspec.field(default_factory=_Method)
    note: list[_Note] = []
    prediction: list[_Prediction] = []
    value_quantity: _Quantity | None = None
    extension: list[_Extension] = []


class _Entry(msgspec.Struct):
    resource: _Resource


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


def answer_lines(body: bytes) -> Iterator[str]:
    """Yield an answer in words: for each resource what it says, what it rests on, and why. An input is told once."""
    told: set[str] = set()
    for entry in msgspec.json.decode(body, type=_Bundle).entry:
        resource = entry.resource
        if resource.resource_type != "Device":
            value = f": {_number(resource.value_quantity)}" if resource.value_quantity else ""
            yield f"{resource.resource_type} ({resource.status}) {resource.method.text}{value}"
            for line in (*_predictions(resource), *_inputs(resource, told), *(note.text for note in resource.note)):
                yield from textwrap.wrap(line, WIDTH_CHARS, initial_indent="    ", subsequent_indent="      ")


def _predictions(resource: _Resource) -> Iterator[str]:
    """Yield the first numbers, and each reason for having none once."""
    said = [prediction.rationale for prediction in resource.prediction]
    numbers = [text for text in said if _NO_NUMBER not in text]
    yield from numbers[:PREDICTIONS_SHOWN]
    if len(numbers) > PREDICTIONS_SHOWN:
        yield f"and {len(numbers) - PREDICTIONS_SHOWN} more outcomes with a number"
    withheld = [text.partition(_NO_NUMBER)[2] for text in said if _NO_NUMBER in text]
    yield from (f"no number for {withheld.count(why)} outcomes: {why}" for why in dict.fromkeys(withheld))


def _inputs(resource: _Resource, told: set[str]) -> Iterator[str]:
    """Yield what was found, what of it cannot be used, and what is not there; a prediction rests on it."""
    if not resource.prediction:
        return
    read = [_Input.of(found.extension) for found in resource.extension if found.extension]
    inputs = [found for found in read if found.words not in told]
    told.update(found.words for found in inputs)
    yield from _listed("found", (found.words for found in inputs if found.state in _USED))
    yield from _listed("not usable", (f"{found.words}: {found.state}" for found in inputs if found.state not in _USED | _NOT_THERE))
    yield from _listed("not recorded", (found.name for found in inputs if found.state in _NOT_THERE))


def _listed(title: str, items: Iterable[str]) -> Iterator[str]:
    text = "; ".join(items)
    if text:
        yield f"{title}: {text}"


class _Input(msgspec.Struct, frozen=True):
    """One input of an answer."""

    name: str
    state: str
    words: str

    @classmethod
    def of(cls, parts: list[_Extension]) -> "_Input":
        """Read an input from the parts of its extension."""
        by_url = {part.url: part for part in parts}
        name, state = by_url["name"].value_string.replace("_", " "), by_url["state"].value_code
        value, text = by_url.get("value"), by_url.get("text")
        if state == "concluded-absent":
            words = f"{name} none recorded"
        elif value and value.value_quantity and value.value_quantity.unit != "1":
            words = f"{name} {_number(value.value_quantity)}"
        else:
            words = f"{name} {text.value_string}" if text else f"{name} recorded"
        day = by_url["time"].value_instant[:10] if "time" in by_url else ""
        return cls(name, state, f"{words} ({day})" if day else words)


def _number(quantity: _Quantity) -> str:
    return f"{quantity.value:.4g} {quantity.unit}".strip()


def essence(body: bytes) -> str:
    """Return the essential elements of an answer's first RiskAssessment, lists cut to their first item, as indented JSON."""
    bundle = msgspec.json.decode(body)
    resource = next(entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "RiskAssessment")
    prediction = {name: value for name, value in resource["prediction"][0].items() if name != "outcome"}
    shown: dict[str, Any] = {  # any JSON value
        "resourceType": resource["resourceType"],
        "status": resource["status"],
        "method": {"text": resource["method"]["text"]},
        "subject": resource["subject"],
        "occurrenceDateTime": resource["occurrenceDateTime"],
        "prediction": [{"outcome": {"text": resource["prediction"][0]["outcome"]["text"]}, **prediction}],
        "basis": resource["basis"][:1],
        "note": resource["note"][:1],
    }
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
