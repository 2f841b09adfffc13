"""As-of (rules 5): what happened, was issued or was recorded later is hidden, whatever the server says about updates."""
# ruff: noqa: FBT001 - flags are columns of the tables

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from gateway.record import hide_later
from gateway.record.values import PatientRecord

Make = Callable[..., dict[str, Any]]
Read = Callable[..., PatientRecord]
AS_OF = dt.datetime(2024, 2, 1, 12, tzinfo=dt.UTC)
LATER, EARLIER = "2024-02-01T14:00:00+01:00", "2024-02-01T12:59:59+01:00"


@pytest.mark.parametrize(
    ("kind", "given", "visible"),
    [
        ("Observation", {"effectiveDateTime": LATER}, False),
        ("Observation", {"effectiveDateTime": EARLIER}, True),
        ("Observation", {"effectiveDateTime": "2024-02-01"}, True),  # counts from its first instant
        ("Observation", {"effectiveDateTime": "2024-03"}, False),
        ("Observation", {"effectiveDateTime": EARLIER, "issued": LATER}, False),
        ("Observation", {"effectiveDateTime": None}, True),
        ("Observation", {"effectiveDateTime": None, "issued": LATER}, False),
        ("Observation", {"effectiveDateTime": EARLIER, "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}}, True),  # never lastUpdated
        ("Condition", {"recordedDate": LATER}, False),
        ("Condition", {"onsetDateTime": LATER, "recordedDate": None}, False),
        ("Condition", {"onsetDateTime": "2030-01-01"}, False),
        ("Condition", {"recordedDate": EARLIER}, True),
        ("Condition", {"onsetDateTime": None, "recordedDate": None}, True),
        ("Procedure", {"performedDateTime": LATER}, False),
        ("Procedure", {"performedDateTime": EARLIER}, True),
        ("MedicationRequest", {"authoredOn": LATER}, False),
        ("MedicationRequest", {"authoredOn": EARLIER}, True),
        ("MedicationStatement", {"dateAsserted": EARLIER, "effectiveDateTime": LATER}, False),
        ("MedicationStatement", {"dateAsserted": LATER, "effectiveDateTime": EARLIER}, False),
        ("Encounter", {"period": {"start": LATER}}, False),
        ("Encounter", {"period": {"start": EARLIER}}, True),
    ],
)
def test_what_came_later_is_hidden(make: Make, read: Read, kind: str, given: dict[str, Any], visible: bool) -> None:
    """One resource at a time, seen at noon UTC on 1 February 2024."""
    record = hide_later(read(make(kind, **given)), AS_OF)
    found = (*record.measurements, *record.problems, *record.medications, *record.stays)
    assert len(found) == visible


def test_a_condition_that_ended_later_was_still_there(make: Make, read: Read) -> None:
    """A pregnancy resolved since then excludes then."""
    ended = make("Condition", clinicalStatus={"coding": [{"code": "resolved"}]}, abatementDateTime=LATER)
    (before,), (after,) = hide_later(read(ended), AS_OF).problems, hide_later(read(ended), AS_OF + dt.timedelta(days=1)).problems
    assert (before.active, before.abated) == (True, None)
    assert (after.active, after.abated is not None) == (False, True)


def test_a_stay_that_ended_later_was_open(make: Make, read: Read) -> None:
    """The patient was in the hospital at that time."""
    (stay,) = hide_later(read(make("Encounter", period={"start": EARLIER, "end": LATER})), AS_OF).stays
    assert (stay.status, stay.end) == ("in-progress", None)
    (stay,) = hide_later(read(make("Encounter", period={"start": EARLIER, "end": EARLIER})), AS_OF).stays
    assert stay.status == "finished"


def test_a_statement_that_ended_later_had_no_end(make: Make, read: Read) -> None:
    """Its end is hidden, the statement is not."""
    (order,) = hide_later(read(make("MedicationStatement", effectivePeriod={"start": EARLIER, "end": LATER})), AS_OF).medications
    assert order.ended is None


@pytest.mark.parametrize(
    ("given", "deceased"),
    [({"deceasedDateTime": LATER}, False), ({"deceasedDateTime": EARLIER}, True), ({"deceasedBoolean": True}, True)],
)
def test_a_later_death_is_hidden(make: Make, read: Read, given: dict[str, Any], deceased: bool) -> None:
    """A death without a time may have been before."""
    assert hide_later(read(make("Patient", **given)), AS_OF).patient.deceased is deceased
