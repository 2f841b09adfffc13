"""Inline Bundles: what a caller hands over instead of a server (rules 3)."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.errors import BadRequest, ErrorCode, TooLarge
from gateway.fhir.group import Group, GroupState
from gateway.record import build_record, read_bundle
from gateway.record.bundle import ENTRIES_MAX
from gateway.terminology import Terminology

Make = Callable[..., dict[str, Any]]
URN = "urn:uuid:aaaaaaaa-0000-0000-0000-00000000000"


def bundle(*entries: dict[str, Any], **more: Any) -> bytes:
    """Return the JSON of a Bundle."""
    return msgspec.json.encode({"resourceType": "Bundle", "type": "collection", "entry": list(entries), **more})


def entry(resource: Any, full_url: str | None = None) -> dict[str, Any]:
    """Return one entry."""
    return {"resource": resource} if full_url is None else {"fullUrl": full_url, "resource": resource}


@pytest.mark.parametrize("kind", ["collection", "transaction", "searchset", "document", "batch-response"])
def test_a_bundle_of_any_type_is_read(make: Make, terminology: Terminology, kind: str) -> None:
    """The type of the Bundle changes nothing."""
    raw = bundle(entry(make("Patient")), entry(make("Observation")), type=kind)
    record = build_record(read_bundle(raw, patient_id=None, declared_complete=True), terminology)
    assert [found.value for found in record.measurements] == [1.1]
    assert record.group_state(Group.LABORATORY) is GroupState.COMPLETE


def test_urn_uuid_references_lead_through_the_full_urls(make: Make, terminology: Terminology) -> None:
    """Subject, encounter and medication of a transaction Bundle, with and without ids of their own."""
    medication = {"resourceType": "Medication", "code": {"text": "Lisinopril 10 MG Oral Tablet"}}
    subject = {"reference": f"{URN}1"}
    raw = bundle(
        entry(make("Observation", id=None, subject=subject, encounter={"reference": f"{URN}2"}), f"{URN}3"),
        entry(make("MedicationRequest", subject=subject, medicationCodeableConcept=None, medicationReference={"reference": f"{URN}4"})),
        entry(medication, f"{URN}4"),
        entry(make("Encounter", id=None, subject=subject), f"{URN}2"),
        entry(make("Patient", id=None), f"{URN}1"),
        type="transaction",
    )
    fetched = read_bundle(raw, patient_id=None, declared_complete=True)
    record = build_record(fetched, terminology)
    assert fetched.patient_id == "aaaaaaaa-0000-0000-0000-000000000001"
    (measured,) = record.measurements
    assert (measured.source.id, measured.encounter_id) == ("aaaaaaaa-0000-0000-0000-000000000003", "aaaaaaaa-0000-0000-0000-000000000002")
    assert record.medications[0].ingredients == ("lisinopril",)
    assert [stay.source.id for stay in record.stays] == ["aaaaaaaa-0000-0000-0000-000000000002"]
    assert record.dropped == ()


def test_an_absolute_full_url_names_the_patient(make: Make, terminology: Terminology) -> None:
    """References to the server the Bundle came from are understood without being told its base."""
    raw = bundle(
        entry(make("Patient"), "https://ehr.example/fhir/Patient/p1"),
        entry(make("Observation", subject={"reference": "https://ehr.example/fhir/Patient/p1/_history/2"})),
        entry(make("Observation", id="o2", subject={"reference": "https://other.example/fhir/Patient/p1"})),
    )
    record = build_record(read_bundle(raw, patient_id="p1", declared_complete=True), terminology)
    assert [found.source.id for found in record.measurements] == ["o1"]


def test_what_is_not_declared_complete_was_not_searched(make: Make, terminology: Terminology) -> None:
    """Absence from such a Bundle is unknown, not absent."""
    record = build_record(read_bundle(bundle(entry(make("Patient"))), patient_id=None, declared_complete=False), terminology)
    assert {record.group_state(group) for group in Group if group is not Group.PATIENT} == {GroupState.NOT_SEARCHED}


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"entry": [{"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}]}, GroupState.INCOMPLETE),
        (
            {"entry": [{"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}, {"severity": "fatal"}]}]},
            GroupState.INCOMPLETE,
        ),
        ({"entry": [{"resourceType": "OperationOutcome"}]}, GroupState.INCOMPLETE),
        ({"entry": [{"resourceType": "OperationOutcome", "issue": 5}]}, GroupState.INCOMPLETE),
        ({"entry": [{"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-found"}]}]}, GroupState.COMPLETE),
        (
            {"entry": [{"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "throttled"}]}]},
            GroupState.INCOMPLETE,
        ),
        ({"link": [{"relation": "self", "url": "x"}]}, GroupState.COMPLETE),
        ({"link": [{"relation": "next", "url": "x"}]}, GroupState.INCOMPLETE),
        ({"link": 5}, GroupState.INCOMPLETE),
    ],
)
def test_a_bundle_that_tells_of_a_gap_is_incomplete(make: Make, more: dict[str, Any], state: GroupState) -> None:
    """A page not followed, an outcome that is more than "nothing found", a part that cannot be read."""
    entries = [entry(make("Patient")), *(entry(found) for found in more.pop("entry", []))]
    (part,) = read_bundle(bundle(*entries, **more), patient_id=None, declared_complete=True).parts
    assert part.state is state
    assert bool(part.why) is (state is GroupState.INCOMPLETE)


def test_an_answer_to_a_batch_is_opened(make: Make, terminology: Terminology) -> None:
    """Each entry holds a searchset, and one of them has a further page."""
    inner = {"resourceType": "Bundle", "type": "searchset", "entry": [entry(make("Observation"))]}
    raw = bundle(entry(make("Patient")), entry(inner), type="batch-response")
    fetched = read_bundle(raw, patient_id=None, declared_complete=True)
    assert [found.value for found in build_record(fetched, terminology).measurements] == [1.1]
    cut = read_bundle(
        bundle(entry(make("Patient")), entry({**inner, "link": [{"relation": "next"}]})), patient_id=None, declared_complete=True
    )
    assert cut.parts[0].state is GroupState.INCOMPLETE


@pytest.mark.parametrize("bad", [5, {"fullUrl": 5}, {"resource": 5}, {}, {"resource": None}, [], "x"])
def test_one_bad_entry_never_costs_the_record(make: Make, terminology: Terminology, bad: Any) -> None:
    """The others are read."""
    raw = bundle(entry(make("Patient")), bad, entry(make("Observation")))
    record = build_record(read_bundle(raw, patient_id=None, declared_complete=True), terminology)
    assert [found.value for found in record.measurements] == [1.1]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"resourceType":"Patient","id":"p1"}',
        b'{"resourceType":"Bundle"}',
        b'{"resourceType":"Bundle","entry":5}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_bundle_with_a_patient_is_refused(raw: bytes) -> None:
    """One error with one code, and nothing of the input in it."""
    with pytest.raises(BadRequest) as caught:
        read_bundle(raw, patient_id=None, declared_complete=True)
    assert caught.value.code is ErrorCode.INVALID_RECORD


def test_the_patient_must_be_clear(make: Make) -> None:
    """Two Patients need a choice; a named one must be there."""
    two = bundle(entry(make("Patient")), entry(make("Patient", id="p2")))
    assert read_bundle(two, patient_id="p2", declared_complete=True).patient_id == "p2"
    for patient_id in (None, "p3"):
        with pytest.raises(BadRequest):
            read_bundle(two, patient_id=patient_id, declared_complete=True)
    assert read_bundle(bundle(entry(make("Patient")), entry(make("Patient"))), patient_id=None, declared_complete=True).patient_id == "p1"


def test_too_many_entries_are_refused(make: Make) -> None:
    """The limit is ours and named."""
    raw = bundle(entry(make("Patient")), *({} for _ in range(ENTRIES_MAX)))
    with pytest.raises(TooLarge):
        read_bundle(raw, patient_id=None, declared_complete=True)
