"""Is what we are about to say valid FHIR? Twice asked: by fhir.resources, and by our own checks of what it lets through.

fhir.resources lets 7 of 12 invalid RiskAssessments pass (reference cases in the tests): required codes, the percent rules ras-1 and ras-2,
reference types, decimals as text, empty arrays, periods that end before they start. The checks here cover all twelve.
"""

import datetime as dt
import functools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec
import orjson
from fhir.resources.R4B.codeableconcept import CodeableConcept
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.meta import Meta
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.riskassessment import RiskAssessment
from pydantic import BaseModel, ValidationError

from gateway.results.form import ObservationForm, RiskAssessmentForm

Resource = Mapping[str, Any]  # decoded JSON: what else could it be

# http://hl7.org/fhir/R4/valueset-observation-status.html (required binding of both resources).
OBSERVATION_STATUS = frozenset({"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"})
PERFORMER_TYPES = frozenset({"Practitioner", "PractitionerRole", "Device"})  # RiskAssessment.performer, R4
SUBJECT_TYPES = {"RiskAssessment": frozenset({"Patient", "Group"}), "Observation": frozenset({"Patient", "Group", "Device", "Location"})}
RISK_ELEMENTS = frozenset(
    {
        "resourceType",
        "id",
        "meta",
        "implicitRules",
        "language",
        "text",
        "contained",
        "extension",
        "modifierExtension",
        "identifier",
        "basedOn",
        "parent",
        "status",
        "method",
        "code",
        "subject",
        "encounter",
        "occurrenceDateTime",
        "occurrencePeriod",
        "condition",
        "performer",
        "reasonCode",
        "reasonReference",
        "basis",
        "prediction",
        "mitigation",
        "note",
    }
)
PREDICTION_ELEMENTS = frozenset(
    {
        "id",
        "extension",
        "modifierExtension",
        "outcome",
        "probabilityDecimal",
        "probabilityRange",
        "qualitativeRisk",
        "relativeRisk",
        "whenPeriod",
        "whenRange",
        "rationale",
    }
)
PERCENT = "%"
# R4 dateTime: a date alone may be partial; a time needs seconds and a zone.
_DATE_TIME = re.compile(r"\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))?)?)?")
# The library's metaclass hides that these are pydantic models; they are.
_MODELS: Mapping[str, type[BaseModel]] = {
    "RiskAssessment": cast("type[BaseModel]", RiskAssessment),
    "Observation": cast("type[BaseModel]", Observation),
    "Device": cast("type[BaseModel]", Device),
}
_META = cast("type[BaseModel]", Meta)
_CODEABLE_CONCEPT = cast("type[BaseModel]", CodeableConcept)
# Parts that are constant or come from a manifest, never from a patient: the same bytes in every answer of a release. The code of an
# Observation is not among them: it may be the one under which a laboratory reported.
_OF_THE_RELEASE: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "RiskAssessment": {"meta": _META, "code": _CODEABLE_CONCEPT, "method": _CODEABLE_CONCEPT},
    "Observation": {"meta": _META, "category": _CODEABLE_CONCEPT, "method": _CODEABLE_CONCEPT},
}
_CONTAINERS = (dict, list)
_REPEATED = ("prediction", "basis", "derivedFrom", "note")
_FORMS: Mapping[str, type[msgspec.Struct]] = {"RiskAssessment": RiskAssessmentForm, "Observation": ObservationForm}
_PLACE = re.compile(r"`\$\.?([^`]*)`$")  # where msgspec says what it found is; the rest of its message may hold a value
# Marks of an empty value in compact JSON; they may also stand inside a string, so what has one is looked at closely.
_MARKS_OF_EMPTY = (b"null", b"[]", b"{}", b'""')


class InvalidAnswer(Exception):
    """A resource of ours is not valid FHIR. Names elements, never values."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("; ".join(problems))


def checked(resource: dict[str, object]) -> dict[str, object]:
    """Return the resource if it is valid.

    Raises:
        InvalidAnswer: it is not.
    """
    problems = check_resource(resource) or validate(resource)
    if problems:
        raise InvalidAnswer(problems)
    return resource


def validate(resource: Resource) -> tuple[str, ...]:
    """Validate with fhir.resources (R4B, which is R4 for these resources); return places and kinds of errors, never values.

    Narrative and our own extensions, most of what there is to read, are left out of it, and of repeated elements (predictions, references,
    notes) one of each shape is shown to it. Nothing is lost by that in a resource that `check_resource` passed. The library looks at two
    things: which keys and types stand where, and whether each primitive has the form of its type. Elements of equal shape have equal keys
    and types, so the first is the only one with anything new to say on that; and `gateway.results.form` looks at every primitive of every
    element, extensions included, for type and form. What both leave out, days that do not exist, `check_resource` looks at.
    """
    kind = str(resource.get("resourceType"))
    model = _MODELS.get(kind)
    if model is None:
        return ("resourceType: not one that we emit",)
    shown = {name: value for name, value in resource.items() if name not in ("extension", "text")}
    try:
        for name in _REPEATED:
            if isinstance(shown.get(name), list):
                shown[name] = one_of_each_shape(shown[name])
        for name, part in _OF_THE_RELEASE.get(kind, {}).items():
            if name in shown:
                shown[name] = _valid_part(part, shown[name])
        model.model_validate(shown)
    except ValidationError as error:
        return tuple(f"{'.'.join(map(str, issue['loc']))}: {issue['type']}" for issue in error.errors(include_input=False))
    return ()


def one_of_each_shape(elements: list[object]) -> list[object]:
    """Return the first element of each shape, in order."""
    if len(elements) == 1:
        return elements
    kept: dict[object, object] = {}
    for element in elements:
        kept.setdefault(_shape(element), element)
    return list(kept.values())


def _shape(value: object) -> object:
    """Return the keys and types of a JSON value, at every depth."""
    if value.__class__ is dict:
        content = cast("dict[str, object]", value)
        return tuple(content), tuple([_shape(inner) if inner.__class__ in _CONTAINERS else inner.__class__ for inner in content.values()])
    if value.__class__ is list:
        return tuple([_shape(inner) for inner in cast("list[object]", value)])
    return value.__class__


def _valid_part(part: type[BaseModel], value: object) -> object:
    if value.__class__ is list:
        return [_valid_part(part, inner) for inner in cast("list[object]", value)]
    return _validated(part, orjson.dumps(value))


@functools.lru_cache(maxsize=1024)
def _validated(part: type[BaseModel], json: bytes) -> BaseModel:
    """Validate a part that no patient is in; what is not valid is not kept."""
    return part.model_validate(orjson.loads(json))


def check_resource(resource: Resource) -> tuple[str, ...]:
    """Return what is wrong with a resource of ours, by element; empty when nothing is.

    One pass in C asks whether everything has the exact form of what we emit; where something has not, the rules are gone through one by one
    to say which.
    """
    form = _FORMS.get(str(resource.get("resourceType")))
    if form is None:
        return tuple(_empty_values_of(resource))
    unlike = _unlike(resource, form)
    if not unlike:
        return tuple(_check_meaning(resource))
    return (*_named(resource), unlike)


def _named(resource: Resource) -> list[str]:
    """Return which rules a resource breaks, as far as it can be read."""
    named = _empty_values_of(resource)
    try:
        named += _check_status_and_subject(resource)
        if resource["resourceType"] == "RiskAssessment":
            named += _check_risk_assessment(resource)
    except (TypeError, AttributeError, KeyError):
        named.append("resource: a value of another kind than its element has")  # the form tells where
    return named


def _unlike(resource: Resource, form: type[msgspec.Struct]) -> str:
    """Return where a resource first differs from its form, "" when nowhere."""
    try:
        msgspec.convert(resource, form)
        if b"{}" in orjson.dumps(resource) and any(_empty_values(resource, "")):  # a form cannot ask for one element of several
            return "resource: an empty object"
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        return f"{place[1] if place else 'resource'}: not in the form that we emit"
    except orjson.JSONEncodeError:
        return "not JSON"
    return ""


def _check_meaning(resource: Resource) -> Iterable[str]:
    """Check what a form cannot say: types of references, days that exist, periods that end after they start."""
    yield from _check_status_and_subject(resource)
    if "performer" in resource and _type_of(resource["performer"]) not in PERFORMER_TYPES:
        yield "performer: not a Practitioner, PractitionerRole or Device"
    if "prediction" in resource:
        yield from _check_periods(resource["prediction"])


def _empty_values_of(resource: Resource) -> list[str]:
    """Find what FHIR JSON does not have; the encoded bytes are searched first, which is fast and hardly ever finds anything."""
    try:
        json = orjson.dumps(resource)
    except orjson.JSONEncodeError:
        return ["not JSON"]
    if any(mark in json for mark in _MARKS_OF_EMPTY):
        return list(_empty_values(resource, ""))
    return []


def _empty_values(value: object, place: str) -> Iterable[str]:
    """FHIR JSON: no null, no empty string, array or object, no NaN or infinity."""
    if value is None or value in ("", [], {}, ()) or (isinstance(value, float) and not math.isfinite(value)):
        yield f"{place}: empty"
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if inner.__class__ is not str or not inner:
                yield from _empty_values(inner, f"{place}.{name}" if place else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _empty_values(inner, place)


def _check_status_and_subject(resource: Resource) -> Iterable[str]:
    if resource.get("status") not in OBSERVATION_STATUS:
        yield "status: not a code of observation-status"
    subject = resource.get("subject")
    if not isinstance(subject, Mapping) or _type_of(subject) not in SUBJECT_TYPES[str(resource["resourceType"])]:
        yield "subject: missing, or of another type"
    for name in ("occurrenceDateTime", "effectiveDateTime"):
        if name in resource and not _is_date_time(resource[name]):
            yield f"{name}: not a FHIR dateTime"


def _check_risk_assessment(resource: Resource) -> Iterable[str]:
    yield from (f"{name}: not an element of RiskAssessment" for name in resource if name not in RISK_ELEMENTS)
    performer = resource.get("performer")
    if isinstance(performer, Mapping) and _type_of(performer) not in PERFORMER_TYPES:
        yield "performer: not a Practitioner, PractitionerRole or Device"
    if "occurrenceDateTime" in resource and "occurrencePeriod" in resource:
        yield "occurrence[x]: two of them"
    if "occurrencePeriod" in resource:
        yield from _check_period(resource["occurrencePeriod"], "occurrencePeriod")
    predictions = resource.get("prediction", ())
    for prediction in predictions:
        yield from _check_prediction(prediction)
    yield from _check_periods(predictions)


def _check_periods(predictions: Iterable[Resource]) -> Iterable[str]:
    """Check each period once: the outcomes of one horizon share it."""
    periods = [prediction["whenPeriod"] for prediction in predictions if "whenPeriod" in prediction]
    for period in {(period.get("start"), period.get("end")): period for period in periods}.values():
        yield from _check_period(period, "prediction.whenPeriod")


def _check_prediction(prediction: Resource) -> Iterable[str]:
    yield from (f"prediction.{name}: not an element of RiskAssessment.prediction" for name in prediction if name not in PREDICTION_ELEMENTS)
    if "whenPeriod" in prediction and "whenRange" in prediction:
        yield "prediction.when[x]: two of them"
    if "probabilityDecimal" in prediction and "probabilityRange" in prediction:
        yield "prediction.probability[x]: two of them"
    if "probabilityDecimal" in prediction:
        number = prediction["probabilityDecimal"]
        if isinstance(number, bool) or not isinstance(number, int | float):
            yield "prediction.probabilityDecimal: not a number"
        elif not 0 <= number <= 100:  # noqa: PLR2004 - ras-2: decimals are percentages
            yield "prediction.probabilityDecimal: outside 0 to 100 (ras-2)"
    if "probabilityRange" in prediction:
        ends = (prediction["probabilityRange"].get(end, {}) for end in ("low", "high"))
        if any(end and end.get("code") != PERCENT for end in ends):
            yield "prediction.probabilityRange: not in percent (ras-1)"


def _check_period(period: Resource, place: str) -> Iterable[str]:
    ends = [_instant(period[end]) for end in ("start", "end") if end in period]
    if None in ends:
        yield f"{place}: not FHIR dateTimes"
    elif len(ends) == 2 and ends[0] > ends[1]:  # type: ignore[operator]  # noqa: PLR2004 - start and end, neither is None
        yield f"{place}: ends before it starts (per-1)"


def _instant(value: object) -> dt.datetime | None:
    """Return the first instant of a FHIR dateTime, or None where it is none (a wrong form, or a day that does not exist)."""
    if not isinstance(value, str) or _DATE_TIME.fullmatch(value) is None:
        return None
    try:
        parsed = dt.datetime.fromisoformat(value + "-01-01"[len(value) - 4 :] if len(value) < len("YYYY-MM-DD") else value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


def _is_date_time(value: object) -> bool:
    return _instant(value) is not None


def _type_of(reference: Resource) -> str:
    """Return the type a reference names; a urn:uuid of this Bundle names our own Device, a logical reference says its type."""
    text = str(reference.get("reference", "")).partition("/_history/")[0]
    if text.startswith("urn:uuid:"):
        return "Device"
    return text.rsplit("/", 2)[-2] if "/" in text else str(reference.get("type", ""))
