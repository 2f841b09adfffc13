"""Properties of reading: nothing in a resource can make it raise or invent a value, and the order of arrival never matters."""

import copy
import datetime as dt
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.record import build_record, hide_later, read_bundle
from gateway.record.values import PatientRecord
from gateway.terminology import load_terminology

TERMINOLOGY = load_terminology()
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "gender": "male",
    "birthDate": "1970-01-01",
    "extension": [{"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex", "valueCode": "M"}],
}
SUBJECT = {"reference": "Patient/p1"}
RESOURCES: list[dict[str, Any]] = [
    {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "subject": SUBJECT,
        "effectiveDateTime": "2024-01-01T08:00:00Z",
        "code": {"coding": [{"system": LOINC, "code": "2160-0", "display": "Creatinine"}]},
        "valueQuantity": {"value": 1.25, "unit": "mg/dL", "system": UCUM, "code": "mg/dL"},
        "referenceRange": [{"high": {"value": 1.5, "unit": "mg/dL"}}],
    },
    {
        "resourceType": "Observation",
        "id": "o2",
        "status": "final",
        "subject": SUBJECT,
        "effectivePeriod": {"end": "2024-01-01"},
        "code": {"coding": [{"system": LOINC, "code": "85354-9"}]},
        "component": [
            {"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}, "valueQuantity": {"value": 127, "system": UCUM, "code": "mm[Hg]"}},
            {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]}, "valueQuantity": {"value": 83, "system": UCUM, "code": "mm[Hg]"}},
        ],
    },
    {
        "resourceType": "Observation",
        "id": "o3",
        "status": "final",
        "subject": SUBJECT,
        "effectiveDateTime": "2024-01-01",
        "code": {"coding": [{"system": LOINC, "code": "72166-2"}]},
        "valueCodeableConcept": {"coding": [{"system": SNOMED, "code": "8517006"}]},
    },
    {
        "resourceType": "Condition",
        "id": "c1",
        "subject": SUBJECT,
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": {"coding": [{"system": SNOMED, "code": "44054006", "display": "Diabetes"}], "text": "Diabetes"},
        "onsetDateTime": "2010",
    },
    {
        "resourceType": "Procedure",
        "id": "x1",
        "status": "completed",
        "subject": SUBJECT,
        "code": {"text": "Stent"},
        "performedDateTime": "2011",
    },
    {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": SUBJECT,
        "authoredOn": "2024-01-01",
        "medicationReference": {"reference": "#a"},
        "contained": [{"resourceType": "Medication", "id": "a", "code": {"text": "lisinopril"}}],
    },
    {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "subject": SUBJECT,
        "period": {"start": "2024-01-01T07:00:00Z"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
    },
]
GOOD_NUMBERS = {1.25, 127.0, 83.0}
JUNK = st.sampled_from(
    [None, True, False, 0, -1, 7.5, "", "x", "2024-99-99", "Patient/p2", [], {}, [None], [[]], {"coding": 5}, {"a": {}}, [5]]
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


PLACES = [(index, path) for index, resource in enumerate(RESOURCES) for path in places(resource)]
PATIENT_PLACES = list(places(PATIENT))


def mutate(resource: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    """Return a copy with one place changed."""
    changed = copy.deepcopy(resource)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    change(node, path[-1])
    return changed


def replace_by(value: Any) -> Callable[[Any, Any], None]:
    """Return the change that puts a value in a place."""
    return lambda node, key: node.__setitem__(key, value)


def remove(node: Any, key: Any) -> None:
    """Leave a place out."""
    del node[key]


def record_of(resources: list[dict[str, Any]], patient: dict[str, Any] | None = None) -> PatientRecord:
    """Return the record of some resources and the Patient."""
    raws = tuple(msgspec.json.encode(found) for found in (patient or PATIENT, *resources))
    part = RecordPart(groups=tuple(Group), state=GroupState.COMPLETE, resources=raws)
    return build_record(FetchedRecord(patient_id="p1", parts=(part,)), TERMINOLOGY)


WHOLE = record_of(RESOURCES)


@given(st.sampled_from(PLACES), JUNK)
@settings(max_examples=600, deadline=None)
def test_junk_anywhere_never_raises_and_never_invents_a_number(place: tuple[int, tuple[Any, ...]], junk: Any) -> None:
    """A number in the record was a number in the resource, with the same concept; the other resources are untouched by it."""
    index, path = place
    changed = [mutate(found, path, replace_by(junk)) if number == index else found for number, found in enumerate(RESOURCES)]
    record = record_of(changed)
    allowed = GOOD_NUMBERS | ({float(junk)} if isinstance(junk, (int, float)) and not isinstance(junk, bool) else set())
    assert {found.value for found in record.measurements if found.value is not None} <= allowed
    others = {(found.source, found.concepts, found.value) for found in record.measurements if found.source.id != RESOURCES[index]["id"]}
    expected = {(found.source, found.concepts, found.value) for found in WHOLE.measurements if found.source.id != RESOURCES[index]["id"]}
    assert others == expected or "id" in path  # a changed id may collide with another resource's


@given(st.sampled_from(PLACES))
@settings(max_examples=300, deadline=None)
def test_leaving_out_anything_never_raises_and_never_adds(place: tuple[int, tuple[Any, ...]]) -> None:
    """Less in the resource never means more in the record; a Condition or order that lost a part still forbids to conclude "no"."""
    index, path = place
    record = record_of([mutate(found, path, remove) if number == index else found for number, found in enumerate(RESOURCES)])
    assert len(record.measurements) <= len(WHOLE.measurements)
    assert {found.value for found in record.measurements if found.value is not None} <= GOOD_NUMBERS
    assert {group for found in record.problems for group in found.groups} <= {group for found in WHOLE.problems for group in found.groups}
    if path != ("resourceType",):
        assert len(record.problems) == len(WHOLE.problems)
        assert len(record.medications) == len(WHOLE.medications)


@given(st.sampled_from(PATIENT_PLACES), JUNK)
@settings(max_examples=200, deadline=None)
def test_junk_in_the_patient_gives_no_other_sex(path: tuple[Any, ...], junk: Any) -> None:
    """A changed Patient is the same, less known, or openly odd; it never turns female by accident."""
    if path in (("resourceType",), ("id",)):
        return
    facts = record_of([], mutate(PATIENT, path, replace_by(junk))).patient
    assert facts.gender in ("male", None, junk)
    assert set(facts.recorded_sexes) <= {"male", "other"}


@given(st.randoms(use_true_random=False), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_never_matters(shuffler: random.Random, repeats: int) -> None:
    """Shuffled, split over pages, with pages that came twice: the same record."""
    raws = [msgspec.json.encode(found) for found in (PATIENT, *RESOURCES)]
    raws += shuffler.sample(raws, repeats)
    shuffler.shuffle(raws)
    cut = shuffler.randrange(len(raws))
    parts = tuple(RecordPart(groups=tuple(Group), state=GroupState.COMPLETE, resources=tuple(page)) for page in (raws[:cut], raws[cut:]))
    assert build_record(FetchedRecord(patient_id="p1", parts=parts), TERMINOLOGY) == WHOLE


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_beside_good_resources_change_nothing_but_the_list(junk: bytes) -> None:
    """They are listed, or they are a type that nobody reads."""
    raws = (junk, *(msgspec.json.encode(found) for found in (PATIENT, *RESOURCES)))
    part = RecordPart(groups=tuple(Group), state=GroupState.COMPLETE, resources=raws)
    record = build_record(FetchedRecord(patient_id="p1", parts=(part,)), TERMINOLOGY)
    assert msgspec.structs.replace(record, dropped=()) == WHOLE


@given(st.datetimes())
@settings(max_examples=100, deadline=None)
def test_hiding_shows_less_the_earlier_one_looks(at: Any) -> None:
    """Nothing appears by looking from earlier, and hiding twice is hiding once."""
    as_of = at.replace(tzinfo=dt.UTC)
    hidden = hide_later(WHOLE, as_of)
    assert set(hidden.measurements) <= set(WHOLE.measurements)
    assert hide_later(hidden, as_of) == hidden
    assert all(found.time is None or found.time.at <= as_of for found in hidden.measurements)


def test_a_bundle_and_its_resources_give_the_same_record() -> None:
    """The way in changes nothing."""
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": found} for found in (*RESOURCES, PATIENT)]}
    fetched = read_bundle(msgspec.json.encode(bundle), patient_id="p1", declared_complete=True)
    assert build_record(fetched, TERMINOLOGY) == WHOLE
