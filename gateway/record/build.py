"""From what was received to a PatientRecord: nothing is judged, one bad resource never fails the record, every dropped thing is listed."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from gateway.errors import BadRequest, ErrorCode
from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.record.decode import decode_resource, resource_type
from gateway.record.drop import DropReason
from gateway.record.fhir_time import parse_time
from gateway.record.measurement import is_read, read_observation
from gateway.record.order import read_order, unreadable_order
from gateway.record.patient import read_patient, unknown_patient, with_unreadable_extension
from gateway.record.problem import read_condition, read_procedure, unreadable_problem
from gateway.record.received import UNKNOWN_ID, Reading, source_of
from gateway.record.reference import build_identity
from gateway.record.resource import (
    READ_TYPES,
    Condition,
    Encounter,
    Medication,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Patient,
    Procedure,
    Resource,
)
from gateway.record.stay import read_encounter
from gateway.record.values import (
    FhirTime,
    Measurement,
    MedicationOrder,
    PatientFacts,
    PatientRecord,
    Problem,
    Stay,
)
from gateway.terminology import Terminology

_BEGINNING = dt.datetime.min.replace(tzinfo=dt.UTC)
_ORDER_TYPES = ("MedicationRequest", "MedicationStatement")
_PROBLEM_TYPES = ("Condition", "Procedure")
# A group that several parts brought is as good as the worst of them; a part that did not ask says nothing about it.
_WORST_FIRST = (GroupState.NOT_ALLOWED, GroupState.NOT_FETCHED, GroupState.INCOMPLETE, GroupState.COMPLETE, GroupState.NOT_SEARCHED)


class _Received(msgspec.Struct, frozen=True, gc=False):
    """One resource of a type that is read, once."""

    type: str
    id: str
    raw: bytes
    resource: Resource | None
    unreadable: tuple[str, ...]


class _Found(msgspec.Struct, kw_only=True):
    """What the readers have found so far."""

    measurements: list[Measurement] = []
    problems: list[Problem] = []
    medications: list[MedicationOrder] = []
    stays: list[Stay] = []
    patient: PatientFacts | None = None


def build_record(fetched: FetchedRecord, terminology: Terminology) -> PatientRecord:
    """Build the record of `fetched.patient_id`.

    The same resources in another order, or a page that came twice, give the same record.

    Raises:
        BadRequest: the Patient resource itself is not among what was received (code invalid-record).
    """
    identity = build_identity(fetched.patient_id, fetched.base_url, fetched.aliases)
    reading = Reading(identity=identity, terminology=terminology, observed=terminology.measured)
    received = _receive(reading, fetched.parts)
    found = _read_all(reading, received)
    if found.patient is None:
        raise BadRequest(ErrorCode.INVALID_RECORD, "The record does not hold the Patient resource it is about.", expression="Bundle.entry")
    return PatientRecord(
        patient=found.patient,
        measurements=_newest_first(found.measurements, _measured),
        problems=_newest_first(found.problems, _problem_time),
        medications=_newest_first(found.medications, _authored),
        stays=_newest_first(found.stays, _started),
        groups=_group_states(fetched),
        dropped=tuple(sorted(reading.drops)),
        base_url=identity.base_url,
    )


# --- receiving: types, ids, copies ------------------------------------------------------------------------------------------------


def _receive(reading: Reading, parts: Iterable[RecordPart]) -> Iterable[_Received]:
    """Decode every resource that is read, each type and id once."""
    by_id: dict[tuple[str, str], _Received] = {}
    for part in parts:
        for resource in part.decoded:
            if not isinstance(resource, Observation) or is_read(reading, resource):
                _keep(reading, by_id, _received_decoded(resource))
        urls = part.full_urls or ("",) * len(part.resources)
        for raw, full_url in zip(part.resources, urls, strict=True):
            received = _receive_one(reading, raw, full_url)
            if received is not None:
                _keep(reading, by_id, received)
    return by_id.values()


def _keep(reading: Reading, by_id: dict[tuple[str, str], _Received], received: _Received) -> None:
    key = (received.type, received.id if received.id != UNKNOWN_ID else received.raw.hex())
    known = by_id.setdefault(key, received)
    if known is not received and (known.raw != received.raw or known.resource != received.resource):
        by_id[key] = _newer_copy(reading, known, received)


def _received_decoded(resource: msgspec.Struct) -> _Received:
    """Take a resource that `gateway.record.alike` decoded: it has an id and a version, so its bytes are needed no more."""
    if not isinstance(resource, Resource) or resource.id is None:
        raise TypeError("decoded resources come from gateway.record.alike")
    return _Received(resource.resource_type, resource.id, b"", resource, ())


def _receive_one(reading: Reading, raw: bytes, full_url: str) -> _Received | None:
    name = resource_type(raw)
    if name is None:
        reading.drop(UNKNOWN_ID, UNKNOWN_ID, DropReason.NOT_A_RESOURCE)
        return None
    if name not in READ_TYPES:
        return None
    decoded = decode_resource(raw, name)
    resource_id = decoded.id or reading.identity.aliases.get(full_url, "").partition("/")[2] or UNKNOWN_ID
    return _Received(name, resource_id, raw, decoded.resource, decoded.unreadable)


def _newer_copy(reading: Reading, one: _Received, other: _Received) -> _Received:
    """Of two different copies of one resource keep the one updated last; the choice does not depend on their order."""
    newer, older = sorted((one, other), key=_copy_rank, reverse=True)
    reading.drop(older.type, older.id, DropReason.OLDER_COPY)
    return newer


def _copy_rank(copy: _Received) -> tuple[dt.datetime, int, bytes]:
    meta = copy.resource.meta if copy.resource is not None else None
    updated = parse_time(meta.last_updated) if meta is not None else None
    version = meta.version_id if meta is not None else None
    return (updated.at if updated is not None else _BEGINNING, int(version) if version and version.isdecimal() else -1, copy.raw)


# --- reading: one resource at a time ----------------------------------------------------------------------------------------------


def _read_all(reading: Reading, received: Iterable[_Received]) -> _Found:
    received = list(received)
    medications = {f"Medication/{one.id}": one.resource for one in received if isinstance(one.resource, Medication)}
    found = _Found()
    for one in received:
        if one.unreadable:
            _note_unreadable(reading, one)
        if one.resource is None:
            _keep_unreadable(reading, found, one)
        else:
            _read(reading, found, one, one.resource, medications)
    return found


def _read(reading: Reading, found: _Found, one: _Received, resource: Resource, medications: Mapping[str, Medication]) -> None:
    if isinstance(resource, Observation):
        found.measurements += read_observation(reading, resource, one.id, one.raw)
    elif isinstance(resource, Condition):
        _add(found.problems, read_condition(reading, resource, one.id, one.raw))
    elif isinstance(resource, Procedure):
        _add(found.problems, read_procedure(reading, resource, one.id, one.raw))
    elif isinstance(resource, (MedicationRequest, MedicationStatement)):
        _add(found.medications, read_order(reading, resource, one.id, one.raw, medications=medications))
    elif isinstance(resource, Encounter):
        _add(found.stays, read_encounter(reading, resource, one.id, one.raw))
    elif isinstance(resource, Patient) and one.id == reading.identity.patient_id:
        facts = read_patient(reading, resource, one.id, one.raw)
        found.patient = with_unreadable_extension(facts, one.raw) if "extension" in one.unreadable else facts


def _note_unreadable(reading: Reading, one: _Received) -> None:
    reason = DropReason.UNREADABLE if one.resource is None else DropReason.UNREADABLE_ELEMENT
    for element in one.unreadable:
        reading.drop(one.type, one.id, reason, element)


def _keep_unreadable(reading: Reading, found: _Found, one: _Received) -> None:
    """Keep what an unreadable resource means for others: that absence cannot be concluded, or that this patient is unknown."""
    source = source_of(Resource(resource_type=one.type), one.id, one.raw)
    if one.type in _PROBLEM_TYPES:
        found.problems.append(unreadable_problem(reading, source, procedure=one.type == "Procedure"))
    elif one.type in _ORDER_TYPES:
        found.medications.append(unreadable_order(source))
    elif one.type == "Patient" and one.id == reading.identity.patient_id:
        found.patient = unknown_patient(source)


_Value = TypeVar("_Value", Measurement, Problem, MedicationOrder, Stay)


def _add(values: list[_Value], value: _Value | None) -> None:
    if value is not None:
        values.append(value)


# --- order and group states -------------------------------------------------------------------------------------------------------


def _newest_first(values: list[_Value], time_of: Callable[[_Value], FhirTime | None]) -> tuple[_Value, ...]:
    """Sort by time, then by resource; undated last. Components of one resource keep their order."""

    def rank(value: _Value) -> tuple[dt.datetime, str, str, str]:
        time, source = time_of(value), value.source
        return (time.at if time is not None else _BEGINNING, source.id, source.resource_type, source.sha256 or "")

    return tuple(sorted(values, key=rank, reverse=True))


def _measured(measurement: Measurement) -> FhirTime | None:
    return measurement.time


def _problem_time(problem: Problem) -> FhirTime | None:
    return problem.onset or problem.recorded


def _authored(order: MedicationOrder) -> FhirTime | None:
    return order.authored


def _started(stay: Stay) -> FhirTime | None:
    return stay.start


def _group_states(fetched: FetchedRecord) -> dict[Group, GroupState]:
    """Return each group's state; what nobody declares complete was not searched (rules 3)."""
    states: dict[Group, set[GroupState]] = {}
    for part in fetched.parts:
        undeclared = part.state is GroupState.COMPLETE and not fetched.declared_complete
        for group in part.groups:
            states.setdefault(group, set()).add(GroupState.NOT_SEARCHED if undeclared else part.state)
    worst = {group: next(state for state in _WORST_FIRST if state in found) for group, found in states.items()}
    return {**worst, Group.PATIENT: GroupState.COMPLETE}
