"""Reading Observations (rules 3): one small resource per rule."""
# ruff: noqa: FBT001 - flags are columns of the tables

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from gateway.record.values import PatientRecord, Precision

Make = Callable[..., dict[str, Any]]
Read = Callable[..., PatientRecord]
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
CREATININE = {"coding": [{"system": LOINC, "code": "2160-0"}]}


def quantity(value: float, unit: str = "mm[Hg]") -> dict[str, Any]:
    """Return a Quantity with its UCUM code."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def test_a_number_keeps_its_unit_time_source_and_codes(make: Make, read: Read) -> None:
    """Value and unit stand as received, the time in UTC with its own text, the version as given."""
    record = read(make("Observation", meta={"versionId": "7"}, encounter={"reference": "Encounter/e9"}, issued="2024-02-01T12:00:00+01:00"))
    (found,) = record.measurements
    assert (found.concepts, found.value, found.unit, found.unit_coded) == (("creatinine",), 1.1, "mg/dL", True)
    assert found.time is not None
    assert (found.time.at, found.time.text) == (dt.datetime(2024, 2, 1, 9, tzinfo=dt.UTC), "2024-02-01T10:00:00+01:00")
    assert found.source.reference == "Observation/o1/_history/7"
    assert found.source.sha256 is None
    assert found.encounter_id == "e9"
    assert found.issued is not None
    assert record.dropped == ()


def test_without_a_version_the_source_is_the_digest_of_the_bytes(make: Make, read: Read) -> None:
    """A version is never invented."""
    (found,) = read(make("Observation")).measurements
    assert found.source.version is None
    assert found.source.sha256 is not None
    assert len(found.source.sha256) == 64
    assert found.source.reference == "Observation/o1"


@pytest.mark.parametrize(
    ("status", "usable"),
    [
        ("final", True),
        ("amended", True),
        ("corrected", True),
        ("preliminary", False),
        ("registered", False),
        ("cancelled", False),
        ("entered-in-error", False),
        ("unknown", False),
        ("finl", False),
        (None, False),
    ],
)
def test_only_three_statuses_are_usable(make: Make, read: Read, status: str | None, usable: bool) -> None:
    """Final, amended, corrected; everything else, and none at all, stays visible but not usable."""
    (found,) = read(make("Observation", status=status)).measurements
    assert found.usable_status is usable
    assert found.status == (status or "unknown")


@pytest.mark.parametrize(
    ("given", "at", "precision"),
    [
        ({"effectiveDateTime": "2024-02-01T23:30:00-05:00"}, "2024-02-02T04:30", Precision.INSTANT),
        ({"effectiveDateTime": "2024-02-01T10:00:00.1234567Z"}, "2024-02-01T10:00", Precision.INSTANT),
        ({"effectiveDateTime": "2024-02-01"}, "2024-02-01T00:00", Precision.DAY),
        ({"effectiveDateTime": "2024-02"}, "2024-02-01T00:00", Precision.MONTH),
        ({"effectiveDateTime": "2024"}, "2024-01-01T00:00", Precision.YEAR),
        ({"effectiveDateTime": "2024-02-01T10:00:00"}, "2024-02-01T00:00", Precision.DAY),  # no zone: only the date is believed
        ({"effectiveInstant": "2024-02-01T10:00:00Z"}, "2024-02-01T10:00", Precision.INSTANT),
        ({"effectivePeriod": {"start": "2024-02-01", "end": "2024-02-03T10:00:00Z"}}, "2024-02-03T10:00", Precision.INSTANT),
        ({"effectivePeriod": {"start": "2024-02-01"}}, "2024-02-01T00:00", Precision.DAY),
        ({"issued": "2024-02-01T10:00:00Z"}, None, None),  # never issued
        ({}, None, None),
        ({"effectiveDateTime": "01/02/2024"}, None, None),
        ({"effectiveDateTime": "2024-13-01"}, None, None),
        ({"effectiveDateTime": "2024-02-30T10:00:00Z"}, None, None),
        ({"effectiveDateTime": "2024-W05-4"}, None, None),
        ({"effectiveDateTime": "20240201"}, None, None),
        ({"effectiveDateTime": "9999-12-31T23:59:59-10:00"}, None, None),
        ({"effectiveDateTime": ""}, None, None),
    ],
)
def test_the_time_is_effective_never_issued(
    make: Make, read: Read, given: dict[str, Any], at: str | None, precision: Precision | None
) -> None:
    """effectiveDateTime, effectiveInstant, the end of effectivePeriod, then its start; a partial date counts from its first instant."""
    (found,) = read(make("Observation", **{"effectiveDateTime": None, **given})).measurements
    if at is None:
        assert found.time is None
    else:
        assert found.time is not None
        assert found.time.at.replace(second=0, microsecond=0) == dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC)
        assert found.time.precision is precision


def test_a_time_that_is_none_is_listed(make: Make, read: Read) -> None:
    """The value stays, undated."""
    record = read(make("Observation", effectiveDateTime="01/02/2024"))
    assert [(entry.resource, entry.reason) for entry in record.dropped] == [("Observation/o1", "unreadable-time:effectiveDateTime")]


def test_any_of_several_codings_counts(make: Make, read: Read) -> None:
    """A local code beside the LOINC code, in any order; two codes of two concepts give both."""
    local = {"system": "http://hospital.example", "code": "KREA", "display": "Krea"}
    for codings in ([local, CREATININE["coding"][0]], [CREATININE["coding"][0], local]):
        (found,) = read(make("Observation", code={"coding": codings})).measurements
        assert found.concepts == ("creatinine",)
        assert len(found.codes) == 2
    spo2 = {"coding": [{"system": LOINC, "code": "2708-6"}, {"system": LOINC, "code": "59408-5"}]}
    (found,) = read(make("Observation", code=spo2, valueQuantity=quantity(97, "%"))).measurements
    assert found.concepts == ("spo2",)


@pytest.mark.parametrize("panel", ["85354-9", "55284-4", "96607-7"])
def test_a_blood_pressure_panel_is_read_by_its_components(make: Make, read: Read, panel: str) -> None:
    """Each panel gives systolic and diastolic, and no value of its own."""
    parts = [
        {"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}, "valueQuantity": quantity(142)},
        {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]}, "valueQuantity": quantity(88)},
    ]
    record = read(make("Observation", code={"coding": [{"system": LOINC, "code": panel}]}, valueQuantity=None, component=parts))
    assert {(found.concepts, found.value, found.component) for found in record.measurements} == {
        (("sbp",), 142, True),
        (("dbp",), 88, True),
    }


def test_a_systolic_pressure_of_its_own_counts_too(make: Make, read: Read) -> None:
    """The same concept may come as an Observation or as a component."""
    (found,) = read(make("Observation", code={"coding": [{"system": LOINC, "code": "8480-6"}]}, valueQuantity=quantity(130))).measurements
    assert (found.concepts, found.component) == (("sbp",), False)


def test_oxygen_stands_in_the_components_of_saturation(make: Make, read: Read) -> None:
    """Flow and concentration are read beside the value itself; the wrong FiO2 code is accepted on input."""
    parts = [
        {"code": {"coding": [{"system": LOINC, "code": "3151-8"}]}, "valueQuantity": quantity(2, "L/min")},
        {"code": {"coding": [{"system": LOINC, "code": "3150-6"}]}, "valueQuantity": quantity(28, "%")},
    ]
    code = {"coding": [{"system": LOINC, "code": "59408-5"}]}
    record = read(make("Observation", code=code, valueQuantity=quantity(95, "%"), component=parts))
    assert {found.concepts[0]: found.value for found in record.measurements} == {"spo2": 95, "o2_flow": 2, "fio2": 28}


def test_a_comparator_is_kept(make: Make, read: Read) -> None:
    """`<0.2` is not 0.2: who looks for a number sees that."""
    (found,) = read(make("Observation", valueQuantity={**quantity(0.2, "mg/dL"), "comparator": "<"})).measurements
    assert (found.value, found.comparator) == (0.2, "<")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"valueQuantity": None, "dataAbsentReason": {"coding": [{"code": "not-performed"}]}}, "not-performed"),
        ({"valueQuantity": None, "dataAbsentReason": {"text": "refused"}}, "refused"),
        ({"valueQuantity": None, "dataAbsentReason": {}}, "unknown"),
        ({"dataAbsentReason": {"coding": [{"code": "error"}]}}, "error"),  # beside a value: contradicts itself
        ({"valueQuantity": None}, "no-value"),
        ({"valueQuantity": {"unit": "mg/dL"}}, "no-value"),
        ({"valueQuantity": None, "valueRange": {"low": quantity(1)}}, "no-value"),
    ],
)
def test_an_absent_value_says_why(make: Make, read: Read, given: dict[str, Any], reason: str) -> None:
    """dataAbsentReason, or no value that is read: never a number."""
    (found,) = read(make("Observation", **given)).measurements
    assert (found.value, found.value_codes, found.value_text, found.absent_reason) == (None, (), None, reason)


def test_a_number_in_words_stays_words(make: Make, read: Read) -> None:
    """ValueString is kept as text; nobody parses it."""
    (found,) = read(make("Observation", valueQuantity=None, valueString="1.1 mg/dL")).measurements
    assert (found.value, found.value_text) == (None, "1.1 mg/dL")


def test_a_coded_value_keeps_its_codes(make: Make, read: Read) -> None:
    """Smoking status: the codes, with canonical systems."""
    value = {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.96", "code": "449868002", "display": "Daily"}], "text": "smokes"}
    code = {"coding": [{"system": LOINC, "code": "72166-2"}]}
    (found,) = read(make("Observation", code=code, valueQuantity=None, valueCodeableConcept=value)).measurements
    assert [(code.system, code.code) for code in found.value_codes] == [(SNOMED, "449868002")]
    assert (found.value, found.value_text) == (None, "smokes")


def test_an_integer_is_a_pure_number(make: Make, read: Read) -> None:
    """ValueInteger has no unit to give: it is the UCUM unit 1."""
    code = {"coding": [{"system": LOINC, "code": "9269-2"}]}
    (found,) = read(make("Observation", code=code, valueQuantity=None, valueInteger=14)).measurements
    assert (found.value, found.unit, found.unit_coded) == (14.0, "1", True)


@pytest.mark.parametrize(
    ("given", "unit", "coded"),
    [
        ({"value": 1, "unit": "mg/dL", "system": UCUM, "code": "mg/dL"}, "mg/dL", True),
        ({"value": 1, "unit": "mg/dl", "system": "urn:oid:2.16.840.1.113883.6.8", "code": "mg/dL"}, "mg/dL", True),
        ({"value": 1, "unit": "mg/dL"}, "mg/dL", False),
        ({"value": 1, "code": "mg/dL"}, "mg/dL", False),
        ({"value": 1, "unit": "milli", "system": "http://hospital.example", "code": "X"}, "milli", False),
        ({"value": 1}, None, False),
    ],
)
def test_a_unit_is_coded_only_in_ucum(make: Make, read: Read, given: dict[str, Any], unit: str | None, coded: bool) -> None:
    """The UCUM code where there is one, else the unit's text; a missing unit stays missing."""
    (found,) = read(make("Observation", valueQuantity=given)).measurements
    assert (found.unit, found.unit_coded) == (unit, coded)


@pytest.mark.parametrize(
    ("ranges", "limits"),
    [
        ([{"low": quantity(0.5, "mg/dL"), "high": quantity(1.2, "mg/dL")}], (0.5, 1.2)),
        ([{"high": {"value": 1.2}}], (None, 1.2)),
        ([{"high": quantity(106, "umol/L")}], (None, None)),  # another unit than the value's
        ([{"high": quantity(1.2, "mg/dL")}, {"high": quantity(1.1, "mg/dL")}], (None, None)),  # which one applies is not known
        ([{"high": quantity(1.2, "mg/dL")}, {"type": {"coding": [{"code": "treatment"}]}, "high": quantity(9, "mg/dL")}], (None, 1.2)),
    ],
)
def test_the_laboratorys_limits_are_taken_only_when_clear(make: Make, read: Read, ranges: list[Any], limits: tuple[Any, Any]) -> None:
    """One normal range in the value's own unit."""
    (found,) = read(make("Observation", referenceRange=ranges)).measurements
    assert (found.reference_low, found.reference_high) == limits


def test_codes_that_nobody_reads_are_neither_used_nor_dropped(make: Make, read: Read) -> None:
    """A potassium is no error."""
    record = read(make("Observation", code={"coding": [{"system": LOINC, "code": "2823-3"}]}))
    assert (record.measurements, record.dropped) == ((), ())


def test_different_numbers_at_one_instant_are_both_kept(make: Make, read: Read) -> None:
    """A conflict is decided later, in the open, not here."""
    record = read(make("Observation", id="a"), make("Observation", id="b", valueQuantity=quantity(1.9, "mg/dL")))
    assert [(found.source.id, found.value) for found in record.measurements] == [("b", 1.9), ("a", 1.1)]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"subject": {"reference": "Patient/p2"}}, "other-patient"),
        ({"subject": {"reference": "Patient/p1x"}}, "other-patient"),
        ({"subject": {"reference": "http://elsewhere.example/fhir/Patient/p1"}}, "other-patient"),
        ({"subject": {"reference": "urn:uuid:11111111-2222-3333-4444-555555555555"}}, "other-patient"),
        ({"subject": {"reference": "Group/p1"}}, "other-patient"),
        ({"subject": {"reference": "#p1"}}, "other-patient"),
        ({"subject": {"display": "Somebody"}}, "no-subject"),
        ({"subject": None}, "no-subject"),
        ({"modifierExtension": [{"url": "http://x.example", "valueBoolean": True}]}, "unknown-modifier-extension"),
        ({"implicitRules": "http://x.example/rules"}, "implicit-rules"),
        ({"focus": [{"reference": "Patient/child"}]}, "focus-on-someone-else"),
        ({"focus": [{"display": "the fetus"}]}, "focus-on-someone-else"),
    ],
)
def test_a_value_that_is_not_the_patients_or_means_something_else_is_dropped(
    make: Make, read: Read, given: dict[str, Any], reason: str
) -> None:
    """Another subject in any form, a modifier, rules, a focus: not used, and listed."""
    record = read(make("Observation", **given))
    assert record.measurements == ()
    assert [(entry.resource, entry.reason) for entry in record.dropped] == [("Observation/o1", reason)]


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/p1",
        "Patient/p1/_history/3",
        "https://ehr.example/fhir/Patient/p1",
        "https://ehr.example/fhir/Patient/p1/_history/9",
        "urn:uuid:aaaaaaaa-0000-0000-0000-000000000001",
        "http://origin.example/r4/Patient/77",
    ],
)
def test_every_form_of_the_same_reference_is_the_patient(make: Make, read: Read, reference: str) -> None:
    """Relative, absolute on the base, versioned, and the fullUrls under which the Patient stood in a Bundle."""
    aliases = {"urn:uuid:aaaaaaaa-0000-0000-0000-000000000001": "Patient/p1", "http://origin.example/r4/Patient/77": "Patient/p1"}
    changed = make("Observation", subject={"reference": reference}, focus=[{"reference": reference}])
    record = read(changed, base_url="https://ehr.example/fhir/", aliases=aliases)
    assert len(record.measurements) == 1
    assert record.base_url == "https://ehr.example/fhir"


def test_a_modifier_on_one_component_costs_that_component(make: Make, read: Read) -> None:
    """The other component stays."""
    parts = [
        {
            "code": {"coding": [{"system": LOINC, "code": "8480-6"}]},
            "valueQuantity": quantity(142),
            "modifierExtension": [{"url": "http://x.example"}],
        },
        {"code": {"coding": [{"system": LOINC, "code": "8462-4"}]}, "valueQuantity": quantity(88)},
    ]
    record = read(make("Observation", code={"coding": [{"system": LOINC, "code": "85354-9"}]}, valueQuantity=None, component=parts))
    assert [found.concepts for found in record.measurements] == [("dbp",)]
    assert [entry.reason for entry in record.dropped] == ["unknown-modifier-extension:component"]


@pytest.mark.parametrize(
    ("given", "kept", "reasons"),
    [
        ({"valueQuantity": {"value": "1.1"}}, "no value", ["unreadable-element:valueQuantity"]),
        ({"valueQuantity": [{"value": 1.1}]}, "no value", ["unreadable-element:valueQuantity"]),
        ({"valueQuantity": {"value": 1.1, "comparator": 5}}, "no value", ["unreadable-element:valueQuantity"]),
        ({"encounter": [{"reference": "Encounter/1"}]}, "value", ["unreadable-element:encounter"]),
        ({"issued": 5}, "value", ["unreadable-element:issued"]),
        ({"component": [{"code": 5}]}, "value", ["unreadable-element:component"]),
        ({"meta": "x"}, "value", ["unreadable-element:meta"]),
        ({"code": {"coding": CREATININE["coding"], "text": 5}}, "nothing", ["unreadable-element:code"]),
        ({"status": 5}, "nothing", ["unreadable:status"]),
        ({"subject": "Patient/p1"}, "nothing", ["unreadable:subject"]),
        ({"modifierExtension": {"url": "x"}}, "nothing", ["unreadable:modifierExtension"]),
        ({"focus": {"reference": "Patient/p1"}}, "nothing", ["unreadable:focus"]),
    ],
)
def test_one_bad_element_is_left_out_and_listed(make: Make, read: Read, given: dict[str, Any], kept: str, reasons: list[str]) -> None:
    """An element of the wrong form costs itself; one that decides over the whole resource costs the resource. Never the record."""
    record = read(make("Observation", **given), make("Observation", id="good"))
    first = [found for found in record.measurements if found.source.id == "o1"]
    assert ["value" if found.value is not None else "no value" for found in first] == ([] if kept == "nothing" else [kept])
    assert [found.value for found in record.measurements if found.source.id == "good"] == [1.1]
    assert [entry.reason for entry in record.dropped] == reasons


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b'{"resourceType":5}', b'{"id":"x"}', b'"Observation"', b"\xff\xfe"])
def test_what_is_no_resource_is_listed(read: Read, make: Make, raw: bytes) -> None:
    """Rubbish between good resources costs nothing but its own place."""
    record = read(raw, make("Observation"))
    assert [found.value for found in record.measurements] == [1.1]
    assert [(entry.resource, entry.reason) for entry in record.dropped] == [("?/?", "not-a-resource")]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resourceType":"Observation","id":"b"',
        b'{"resourceType":"Observation","id":"b","valueQuantity":{"value":1e999}}',
        b'{"resourceType":"Observation","id":"b","resourceType":"Patient"}',
        b'{"resourceType":"Observation","id":"\xff"}',
    ],
)
def test_a_resource_that_is_not_sound_json_is_not_used(read: Read, make: Make, raw: bytes) -> None:
    """Cut off, out of range, or of two types at once."""
    record = read(raw, make("Observation"))
    assert [found.source.id for found in record.measurements] == ["o1"]
    assert len(record.dropped) == 1
    assert record.dropped[0].reason.startswith("unreadable")


def test_a_page_that_came_twice_counts_once(make: Make, read: Read) -> None:
    """The same type and id with the same bytes: no trace."""
    record = read(make("Observation"), make("Observation"), make("Observation", id="o2"))
    assert sorted(found.source.id for found in record.measurements) == ["o1", "o2"]
    assert record.dropped == ()


def test_of_two_copies_the_newer_counts_in_any_order(make: Make, read: Read) -> None:
    """By lastUpdated, then by version; the older copy is listed."""
    old = make("Observation", meta={"versionId": "9", "lastUpdated": "2024-01-01T00:00:00Z"})
    new = make("Observation", meta={"versionId": "10", "lastUpdated": "2024-01-02T00:00:00Z"}, status="entered-in-error")
    for order in ((old, new), (new, old)):
        record = read(*order)
        assert [(found.source.version, found.usable_status) for found in record.measurements] == [("10", False)]
        assert [entry.reason for entry in record.dropped] == ["older-copy"]
