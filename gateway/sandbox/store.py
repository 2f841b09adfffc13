"""The sandbox's resources in memory, and search over them as FHIR R4 describes it, for the parameters it declares.

Everything not declared in `SEARCH_PARAMETERS` is refused: a server that ignores a parameter gives another answer than was asked for.
Pure.
"""

import calendar
import datetime as dt
import re
from collections.abc import Callable, Iterable

from gateway.sandbox.fixture import Resource

_CLINICAL = frozenset({"_id", "patient", "subject"})
SEARCH_PARAMETERS = {
    "Patient": frozenset({"_id"}),
    "Observation": _CLINICAL | {"code", "category", "date", "status"},
    "Condition": _CLINICAL | {"code", "category", "clinical-status"},
    "MedicationRequest": _CLINICAL | {"status", "intent", "authoredon"},
    "MedicationStatement": _CLINICAL | {"status"},
    "Medication": frozenset({"_id", "code"}),
    "Encounter": _CLINICAL | {"status", "class", "date"},
    "Procedure": _CLINICAL | {"code", "status", "date"},
}
INCLUDES = {("MedicationRequest", "medication"): "medicationReference", ("MedicationStatement", "medication"): "medicationReference"}
_TOKENS = {
    "code": "code",
    "category": "category",
    "clinical-status": "clinicalStatus",
    "class": "class",
    "status": "status",
    "intent": "intent",
}
_DATES = {
    "Observation": ("effectiveDateTime", "effectivePeriod", "effectiveInstant"),
    "Encounter": ("period",),
    "Procedure": ("performedDateTime", "performedPeriod"),
    "MedicationRequest": ("authoredOn",),
}
_PREFIXES = frozenset({"eq", "ge", "gt", "le", "lt", "ne", "sa", "eb"})
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")
_FIRST = dt.datetime.min.replace(tzinfo=dt.UTC)
_LAST = dt.datetime.max.replace(tzinfo=dt.UTC)

Match = Callable[[Resource], bool]
Span = tuple[dt.datetime, dt.datetime]


class SearchError(ValueError):
    """A search the sandbox refuses; the message names the parameter, never its value."""


class ResourceStore:
    """Resources by type and id, and by type and patient."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._by_id: dict[tuple[str, str], Resource] = {}
        self._by_patient: dict[tuple[str, str], list[Resource]] = {}
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Keep one resource; it gets `meta.versionId` 1 where it has none, as a server would assign."""
        kind = resource["resourceType"]
        kept = {**resource, "meta": {"versionId": "1", **resource.get("meta", {})}}
        self._by_id[kind, resource["id"]] = kept
        patient = _patient_of(resource)
        if patient:
            self._by_patient.setdefault((kind, patient), []).append(kept)

    def read(self, resource_type: str, resource_id: str) -> Resource | None:
        """Return one resource or None."""
        return self._by_id.get((resource_type, resource_id))

    def search(self, resource_type: str, parameters: Iterable[tuple[str, str]]) -> list[Resource]:
        """Return all resources that match every parameter. Raises SearchError for a parameter or value that is not supported."""
        declared = SEARCH_PARAMETERS.get(resource_type)
        if declared is None:
            raise SearchError("this resource type is not served")
        pool: Iterable[Resource] | None = None
        matches: list[Match] = []
        for name, value in parameters:
            if name not in declared:
                raise SearchError("a search parameter is not supported")
            if name in {"patient", "subject"} and pool is None:
                pool = self._of_patients(resource_type, value)
            else:
                matches.append(_match(resource_type, name, value))
        if pool is None:
            pool = (resource for (kind, _), resource in self._by_id.items() if kind == resource_type)
        return [resource for resource in pool if all(match(resource) for match in matches)]

    def included(self, resources: Iterable[Resource], resource_type: str, include: str) -> list[Resource]:
        """Return the resources that `_include` adds, each once. Raises SearchError when it is not supported."""
        source, _, parameter = include.partition(":")
        element = INCLUDES.get((source, parameter))
        if element is None or source != resource_type:
            raise SearchError("this _include is not supported")
        found: dict[str, Resource] = {}
        for resource in resources:
            reference = resource.get(element, {}).get("reference", "")
            kind, _, resource_id = reference.partition("/")
            target = self.read(kind, resource_id)
            if target is not None:
                found[reference] = target
        return list(found.values())

    def _of_patients(self, resource_type: str, value: str) -> list[Resource]:
        return [
            resource for one in value.split(",") for resource in self._by_patient.get((resource_type, one.removeprefix("Patient/")), ())
        ]


def _patient_of(resource: Resource) -> str:
    reference = resource.get("subject", {}).get("reference", "")
    return reference.removeprefix("Patient/") if reference.startswith("Patient/") else ""


def _match(resource_type: str, name: str, value: str) -> Match:
    if not value:
        raise SearchError("a search parameter has no value")
    if name == "_id":
        ids = frozenset(value.split(","))
        return lambda resource: resource["id"] in ids
    if name in {"patient", "subject"}:
        patients = frozenset(one.removeprefix("Patient/") for one in value.split(","))
        return lambda resource: _patient_of(resource) in patients
    if name in {"date", "authoredon"}:
        return _date_match(resource_type, value)
    element = _TOKENS[name]
    wanted = tuple(_token(one) for one in value.split(","))
    return lambda resource: any(_token_matches(one, has) for has in _tokens_of(resource.get(element)) for one in wanted)


# --- tokens -----------------------------------------------------------------------------------------------------------------------


def _token(text: str) -> tuple[str | None, str]:
    """Return (system, code): None for "any system", "" for "no system" (R4 search.html#token)."""
    system, bar, code = text.partition("|")
    return (system, code) if bar else (None, text)


def _token_matches(wanted: tuple[str | None, str], has: tuple[str, str]) -> bool:
    system, code = wanted
    return (system is None or system == has[0]) and (not code or code == has[1])


def _tokens_of(element: object) -> Iterable[tuple[str, str]]:
    if isinstance(element, str):
        yield ("", element)
    elif isinstance(element, list):
        for one in element:
            yield from _tokens_of(one)
    elif isinstance(element, dict):
        for coding in element.get("coding", [element]):
            yield (coding.get("system", ""), coding.get("code", ""))


# --- dates ------------------------------------------------------------------------------------------------------------------------


def _date_match(resource_type: str, value: str) -> Match:
    prefix = value[:2] if value[:2] in _PREFIXES else "eq"
    low, high = parse_span(value.removeprefix(prefix))
    elements = _DATES[resource_type]

    def matches(resource: Resource) -> bool:
        span = next((span for element in elements if (span := _span_of(resource.get(element))) is not None), None)
        return span is not None and _compare(prefix, span, (low, high))

    return matches


def _compare(prefix: str, has: Span, asked: Span) -> bool:
    """Compare a resource's time with the asked one (R4 search.html#date): both are intervals, ends inside."""
    inside = asked[0] <= has[0] and has[1] <= asked[1]
    answers: dict[str, bool] = {
        "eq": inside,
        "ne": not inside,
        "gt": has[1] > asked[1],
        "ge": has[1] > asked[1] or inside,
        "lt": has[0] < asked[0],
        "le": has[0] < asked[0] or inside,
        "sa": has[0] > asked[1],
        "eb": has[1] < asked[0],
    }
    return answers[prefix]


def _span_of(element: object) -> Span | None:
    if isinstance(element, str):
        return parse_span(element)
    if isinstance(element, dict):
        start, end = element.get("start"), element.get("end")
        return (parse_span(start)[0] if start else _FIRST, parse_span(end)[1] if end else _LAST)
    return None


def parse_span(text: str) -> Span:
    """Return first and last instant of a FHIR date or dateTime of any precision. Raises SearchError when it is none."""
    try:
        if "T" in text:
            at = dt.datetime.fromisoformat(text)
            return (at, at) if at.tzinfo else (at.replace(tzinfo=dt.UTC), at.replace(tzinfo=dt.UTC))
        if not _DATE.fullmatch(text):
            raise SearchError("a date is not readable")
        numbers = [int(part) for part in text.split("-")]
        if 0 in numbers:
            raise SearchError("a date is not readable")
        year, month, day = (*numbers, 0, 0)[:3]  # 0: not given
        first = dt.datetime(year, month or 1, day or 1, tzinfo=dt.UTC)
        last_month = month or 12
        last_day = day or calendar.monthrange(year, last_month)[1]
        last = dt.datetime(year, last_month, last_day, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    except (ValueError, IndexError) as error:
        raise SearchError("a date is not readable") from error
    return first, last
