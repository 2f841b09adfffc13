"""Reading patients, conditions, procedures, medications and encounters (rules 3 and 4): one small resource per rule."""
# ruff: noqa: FBT001 - flags are columns of the tables

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.errors import BadRequest, ErrorCode
from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.record import build_record
from gateway.record.values import PatientRecord
from gateway.terminology import Terminology

Make = Callable[..., dict[str, Any]]
Read = Callable[..., PatientRecord]
SNOMED = "http://snomed.info/sct"
STRUCTURE = "http://hl7.org/fhir/StructureDefinition/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"


def coded(code: str, system: str = "") -> dict[str, Any]:
    """Return a CodeableConcept with one code."""
    return {"coding": [{"system": system, "code": code}]}


def sex_parameter(code: str) -> dict[str, Any]:
    """Return the extension of the sex parameter for clinical use."""
    return {"url": f"{STRUCTURE}patient-sexParameterForClinicalUse", "extension": [{"url": "value", "valueCodeableConcept": coded(code)}]}


def recorded_sex(code: str, kind: str = "76689-9") -> dict[str, Any]:
    """Return the extension of a recorded sex or gender of some kind."""
    return {
        "url": f"{STRUCTURE}individual-recordedSexOrGender",
        "extension": [
            {"url": "type", "valueCodeableConcept": coded(kind, "http://loinc.org")},
            {"url": "value", "valueCodeableConcept": coded(code)},
        ],
    }


def birth_sex(code: str) -> dict[str, Any]:
    """Return the US Core extension of the birth sex."""
    return {"url": f"{US_CORE}us-core-birthsex", "valueCode": code}


# --- the patient ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extensions", "parameter", "recorded"),
    [
        ([], None, ()),
        ([sex_parameter("male-typical")], "male-typical", ()),
        ([sex_parameter("specified")], "specified", ()),
        ([sex_parameter("male-typical"), sex_parameter("female-typical")], "specified", ()),  # it depends on the context
        ([sex_parameter("male-typical"), sex_parameter("male-typical")], "male-typical", ()),
        ([birth_sex("F")], None, ("female",)),
        ([birth_sex("M")], None, ("male",)),
        ([birth_sex("UNK")], None, ()),
        ([birth_sex("OTH")], None, ("other",)),
        ([{"url": f"{US_CORE}us-core-sex", "valueCode": "248153007"}], None, ("male",)),
        ([{"url": f"{US_CORE}us-core-sex", "valueCoding": {"code": "248152002"}}], None, ("female",)),
        ([recorded_sex("248152002")], None, ("female",)),
        ([recorded_sex("unknown")], None, ()),
        ([recorded_sex("X")], None, ("other",)),
        ([recorded_sex("male", "76691-5")], None, ()),  # a recorded gender identity is not a recorded sex
        ([recorded_sex("female"), birth_sex("M")], None, ("female", "male")),
        (
            [{"url": f"{STRUCTURE}individual-genderIdentity", "extension": [{"url": "value", "valueCodeableConcept": coded("male")}]}],
            None,
            (),
        ),
    ],
)
def test_each_way_of_saying_sex_is_kept_apart(
    make: Make, read: Read, extensions: list[Any], parameter: str | None, recorded: tuple[str, ...]
) -> None:
    """The parameter for clinical use, recorded sexes, and gender: who decides is not the reader."""
    facts = read(make("Patient", extension=extensions)).patient
    assert (facts.gender, facts.sex_parameter, facts.recorded_sexes) == ("female", parameter, recorded)


@pytest.mark.parametrize(
    ("given", "deceased", "at"),
    [
        ({}, False, None),
        ({"deceasedBoolean": False}, False, None),
        ({"deceasedBoolean": True}, True, None),
        ({"deceasedDateTime": "2024-01-02T03:00:00Z"}, True, dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC)),
        ({"deceasedDateTime": "last winter"}, True, None),
    ],
)
def test_death_is_a_fact_with_or_without_a_time(
    make: Make, read: Read, given: dict[str, Any], deceased: bool, at: dt.datetime | None
) -> None:
    """A time that cannot be read leaves the fact."""
    facts = read(make("Patient", **given)).patient
    assert facts.deceased is deceased
    assert (facts.deceased_at.at if facts.deceased_at is not None else None) == at


def test_a_replaced_or_inactive_patient_is_said_to_be_so(make: Make, read: Read) -> None:
    """Patient.link replaced-by, and active false."""
    assert read(make("Patient", link=[{"type": "replaced-by", "other": {"reference": "Patient/p9"}}])).patient.replaced
    assert not read(make("Patient", link=[{"type": "seealso", "other": {"reference": "Patient/p9"}}])).patient.replaced
    assert not read(make("Patient", active=False)).patient.active
    assert read(make("Patient")).patient.active


@pytest.mark.parametrize(
    "given",
    [
        {"modifierExtension": [{"url": "http://x.example"}]},
        {"implicitRules": "http://x.example"},
        {"active": "no"},
        {"deceasedBoolean": "true"},
        {"link": "x"},
    ],
)
def test_a_patient_that_may_mean_something_else_gives_no_facts(make: Make, read: Read, given: dict[str, Any]) -> None:
    """Then sex and age are missing, and no estimate can follow."""
    record = read(make("Patient", **given))
    assert (record.patient.gender, record.patient.birth_date) == (None, None)
    assert len(record.dropped) == 1


def test_a_bad_gender_or_birth_date_costs_only_itself(make: Make, read: Read) -> None:
    """An unknown code stays as given; a wrong form is left out."""
    record = read(make("Patient", gender=["female"], birthDate="4 May 1960"))
    assert (record.patient.gender, record.patient.birth_date) == (None, None)
    assert [entry.reason for entry in record.dropped] == ["unreadable-element:gender", "unreadable-time:birthDate"]
    assert read(make("Patient", gender="F")).patient.gender == "F"


def test_an_unreadable_word_about_sex_is_no_sex(make: Make, read: Read) -> None:
    """Gender alone does not stand in for a sex parameter that cannot be read; an unreadable extension about something else costs itself."""
    broken = {**sex_parameter("male-typical"), "extension": "male"}
    assert read(make("Patient", extension=[broken])).patient.sex_parameter == "unknown"
    assert read(make("Patient", extension=[{"url": 5}, birth_sex("F")])).patient.sex_parameter == "unknown"
    facts = read(make("Patient", extension=[{"url": "http://x.example", "extension": 5}])).patient
    assert (facts.sex_parameter, facts.gender) == (None, "female")


def test_without_the_patient_there_is_no_record(make: Make, read: Read) -> None:
    """Somebody else's Patient resource is not this patient."""
    with pytest.raises(BadRequest) as caught:
        read(make("Patient", id="p2"))
    assert caught.value.code is ErrorCode.INVALID_RECORD


# --- conditions and procedures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "active"),
    [
        ("active", True),
        ("recurrence", True),
        ("relapse", True),
        ("inactive", False),
        ("remission", False),
        ("resolved", False),
        (None, True),
        ("nonsense", True),
    ],
)
def test_a_condition_is_active_unless_it_says_otherwise(make: Make, read: Read, status: str | None, active: bool) -> None:
    """Absent status counts as active."""
    (found,) = read(make("Condition", clinicalStatus=coded(status) if status else None)).problems
    assert (found.active, found.groups) == (active, {"diabetes"})
    assert found.onset is not None
    assert found.recorded is not None


@pytest.mark.parametrize(
    ("status", "confirmed"), [("confirmed", True), (None, True), ("provisional", False), ("differential", False), ("unconfirmed", False)]
)
def test_a_condition_may_be_unconfirmed(make: Make, read: Read, status: str | None, confirmed: bool) -> None:
    """Provisional, differential and unconfirmed ones are kept as such."""
    (found,) = read(make("Condition", verificationStatus=coded(status) if status else None)).problems
    assert found.confirmed is confirmed


@pytest.mark.parametrize("status", ["refuted", "entered-in-error"])
def test_a_condition_that_was_never_true_is_listed_only(make: Make, read: Read, status: str) -> None:
    """It neither counts nor keeps anyone from concluding absence."""
    record = read(make("Condition", verificationStatus=coded(status)))
    assert record.problems == ()
    assert [entry.reason for entry in record.dropped] == [f"verification:{status}"]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("Condition", {"modifierExtension": [{"url": "http://x.example"}]}),
        ("Condition", {"verificationStatus": "refuted"}),
        ("Condition", {"subject": None}),
        ("Condition", {"implicitRules": "http://x.example"}),
        ("Procedure", {"modifierExtension": [{"url": "http://x.example"}]}),
        ("Procedure", {"status": 5}),
    ],
)
def test_what_cannot_be_used_still_forbids_to_conclude_absence(make: Make, read: Read, kind: str, given: dict[str, Any]) -> None:
    """It proves nothing, is listed, and could belong to every group."""
    record = read(make(kind, **given))
    (found,) = record.problems
    assert found.groups == frozenset()
    assert {"prior_cvd", "diabetes", "pregnancy"} <= found.possible_groups
    assert not found.confirmed
    assert len(record.dropped) == 1


@pytest.mark.parametrize("kind", ["Condition", "Procedure", "MedicationRequest", "MedicationStatement", "Encounter"])
def test_another_patients_resource_leaves_no_trace_but_its_listing(make: Make, read: Read, kind: str) -> None:
    """It says nothing about this patient, not even that absence is open."""
    record = read(make(kind, subject={"reference": "Patient/p2"}))
    assert (record.problems, record.medications, record.stays) == ((), (), ())
    assert [entry.reason for entry in record.dropped] == ["other-patient"]


@pytest.mark.parametrize(
    ("given", "onset", "abated"),
    [
        ({"onsetDateTime": "2020-01-01"}, "2020-01-01", None),
        ({"onsetDateTime": None, "onsetPeriod": {"start": "2019-03", "end": "2019-05"}}, "2019-03", None),
        ({"onsetDateTime": None, "onsetAge": {"value": 50}}, None, None),
        ({"abatementDateTime": "2021-02-03"}, "2020-01-01", "2021-02-03"),
        ({"abatementPeriod": {"start": "2021-01-01", "end": "2021-02-03"}}, "2020-01-01", "2021-02-03"),
    ],
)
def test_a_condition_has_a_beginning_and_an_end(
    make: Make, read: Read, given: dict[str, Any], onset: str | None, abated: str | None
) -> None:
    """As dates or periods; an age gives no date."""
    (found,) = read(make("Condition", **given)).problems
    assert (found.onset.text if found.onset else None, found.abated.text if found.abated else None) == (onset, abated)


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        ("completed", True),
        ("in-progress", True),
        ("unknown", True),
        ("not-done", False),
        ("entered-in-error", False),
        ("preparation", False),
    ],
)
def test_a_procedure_counts_when_it_took_place(make: Make, read: Read, status: str, counts: bool) -> None:
    """Done, being done, or of unknown status; not one that is planned or was not done."""
    record = read(make("Procedure", status=status))
    assert [found.groups for found in record.problems] == ([frozenset({"kidney_replacement"})] if counts else [])
    assert len(record.dropped) == (0 if counts else 1)


def test_a_procedure_has_the_time_it_was_performed(make: Make, read: Read) -> None:
    """Start and end of the period."""
    (found,) = read(make("Procedure", performedDateTime=None, performedPeriod={"start": "2019-05-05", "end": "2019-05-06"})).problems
    assert found.procedure
    assert found.onset is not None
    assert found.abated is not None
    assert (found.onset.text, found.abated.text) == ("2019-05-05", "2019-05-06")


# --- medications ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "active", "recognised"),
    [
        ("MedicationRequest", "active", True, True),
        ("MedicationRequest", "on-hold", False, True),
        ("MedicationRequest", "stopped", False, True),
        ("MedicationRequest", "completed", False, True),
        ("MedicationRequest", "draft", False, True),
        ("MedicationStatement", "active", True, True),
        ("MedicationStatement", "not-taken", False, True),
        # of unknown status: it proves neither that the drug is taken nor that it is not
        ("MedicationRequest", "unknown", True, False),
        ("MedicationStatement", "unknown", True, False),
        ("MedicationRequest", None, True, False),
    ],
)
def test_an_order_is_current_or_not_or_nobody_knows(
    make: Make,
    read: Read,
    kind: str,
    status: str | None,
    active: bool,
    recognised: bool,
) -> None:
    """An unclear order of a group's ingredient has no group and stays unrecognised, so it forbids both conclusions."""
    (found,) = read(make(kind, status=status)).medications
    assert (found.active, found.recognised) == (active, recognised)
    assert bool(found.groups) is recognised
    assert found.ingredients


def test_an_unclear_order_of_another_drug_harms_nothing(make: Make, read: Read) -> None:
    """Metformin of unknown status is no statin in any case."""
    (found,) = read(
        make("MedicationRequest", status="unknown", medicationCodeableConcept={"text": "Metformin 500 MG Oral Tablet"})
    ).medications
    assert found.recognised
    assert found.groups == frozenset()


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({"status": "entered-in-error"}, "status:entered-in-error"),
        ({"doNotPerform": True}, "do-not-perform"),
        ({"doNotPerform": "yes"}, "unreadable:doNotPerform"),
        ({"modifierExtension": [{"url": "http://x.example"}]}, "unknown-modifier-extension"),
    ],
)
def test_an_order_that_is_not_used_is_listed(make: Make, read: Read, given: dict[str, Any], outcome: str) -> None:
    """Never true, or an order not to take it: gone. Not understood: gone too, but it keeps open what is taken."""
    record = read(make("MedicationRequest", **given))
    assert [entry.reason for entry in record.dropped] == [outcome]
    if outcome.startswith("un"):
        (found,) = record.medications
        assert (found.active, found.recognised, found.groups) == (True, False, frozenset())
    else:
        assert record.medications == ()


def test_a_proposal_is_no_order_but_a_plan_is(make: Make, read: Read) -> None:
    """US Core writes what patients take of their own accord as plans."""
    intents = {
        intent: read(make("MedicationRequest", intent=intent)).medications[0].active for intent in ("proposal", "option", "plan", "order")
    }
    assert intents == {"proposal": False, "option": False, "plan": True, "order": True}


MEDICATION = {"resourceType": "Medication", "id": "med1", "code": {"text": "Lisinopril 10 MG Oral Tablet"}}


@pytest.mark.parametrize(
    "reference", ["#med1", "Medication/med1", "https://ehr.example/fhir/Medication/med1", "urn:uuid:aaaaaaaa-0000-0000-0000-00000000000d"]
)
def test_a_referenced_medication_is_found(make: Make, read: Read, reference: str) -> None:
    """Contained, beside the order, absolute, or by the fullUrl of its entry."""
    order = make("MedicationRequest", medicationCodeableConcept=None, medicationReference={"reference": reference})
    resources = [{**order, "contained": [MEDICATION]}] if reference.startswith("#") else [order, MEDICATION]
    aliases = {"urn:uuid:aaaaaaaa-0000-0000-0000-00000000000d": "Medication/med1"}
    (found,) = read(*resources, base_url="https://ehr.example/fhir", aliases=aliases).medications
    assert (found.ingredients, found.groups, found.recognised) == (("lisinopril",), {"antihypertensive"}, True)


@pytest.mark.parametrize(
    ("given", "ingredients", "recognised"),
    [
        ({"medicationReference": {"reference": "Medication/elsewhere", "display": "Lisinopril 10 mg tablet"}}, ("lisinopril",), True),
        ({"medicationReference": {"reference": "Medication/elsewhere"}}, (), False),
        ({"medicationReference": {"identifier": {"value": "7"}}}, (), False),
        ({}, (), False),
        (
            {
                "medicationCodeableConcept": {
                    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}]
                }
            },
            (),
            False,
        ),
        (
            {
                "medicationReference": {"reference": "#x"},
                "contained": [
                    {
                        "resourceType": "Medication",
                        "id": "x",
                        "ingredient": [
                            {"itemCodeableConcept": {"text": "lisinopril"}},
                            {"itemCodeableConcept": {"text": "hydrochlorothiazide"}},
                        ],
                    }
                ],
            },
            ("hydrochlorothiazide", "lisinopril"),
            True,
        ),
        (
            {
                "medicationReference": {"reference": "#x"},
                "contained": [
                    {
                        "resourceType": "Medication",
                        "id": "x",
                        "ingredient": [{"itemCodeableConcept": {"text": "lisinopril"}}, {"itemReference": {"reference": "Substance/1"}}],
                    }
                ],
            },
            ("lisinopril",),
            False,
        ),
        (
            {
                "medicationReference": {"reference": "#x", "display": "lisinopril"},
                "contained": [
                    {
                        "resourceType": "Medication",
                        "id": "x",
                        "modifierExtension": [{"url": "http://x.example"}],
                        "code": {"text": "atorvastatin"},
                    }
                ],
            },
            ("lisinopril",),
            False,
        ),
        (
            {
                "medicationReference": {"reference": "#x"},
                "contained": [5, {"resourceType": "Medication", "id": "x", "code": {"text": "lisinopril"}}],
            },
            ("lisinopril",),
            True,
        ),
    ],
)
def test_a_product_that_cannot_be_found_is_not_recognised(
    make: Make,
    read: Read,
    given: dict[str, Any],
    ingredients: tuple[str, ...],
    recognised: bool,
) -> None:
    """The display of a reference is a name; an ingredient nobody can see leaves the product open."""
    (found,) = read(make("MedicationRequest", **{"medicationCodeableConcept": None, **given})).medications
    assert (found.ingredients, found.recognised) == (ingredients, recognised)


def test_a_statement_is_as_new_as_its_newest_time(make: Make, read: Read) -> None:
    """Asserted or begun, whichever is later; it ended when its period did."""
    (found,) = read(make("MedicationStatement", effectivePeriod={"start": "2023-01-01", "end": "2024-03-01"})).medications
    assert found.authored is not None
    assert found.ended is not None
    assert (found.authored.text, found.ended.text) == ("2024-01-01", "2024-03-01")


# --- encounters and groups --------------------------------------------------------------------------------------------------------


def test_an_encounter_has_a_setting_and_a_period(make: Make, read: Read) -> None:
    """An unknown class gives no setting; a planned or cancelled contact did not take place."""
    emergency = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "EMER"}
    record = read(
        make("Encounter"),
        make("Encounter", id="e2", **{"class": emergency}, period={"start": "2024-03-01T00:00:00Z"}, status="in-progress"),
        make("Encounter", id="e3", **{"class": {"system": "system", "code": "code"}}, period=None),
        make("Encounter", id="e4", status="planned"),
        make("Encounter", id="e5", status="cancelled"),
        make("Encounter", id="e6", **{"class": [emergency]}),
    )
    assert [(stay.source.id, stay.setting, stay.end is None) for stay in record.stays] == [
        ("e2", "ed", True),
        ("e6", None, False),
        ("e1", "ambulatory", False),
        ("e3", None, True),
    ]
    assert [entry.reason for entry in record.dropped] == ["status:planned", "status:cancelled", "unreadable-element:class"]


@pytest.mark.parametrize(
    ("states", "declared", "expected"),
    [
        ([GroupState.COMPLETE], True, GroupState.COMPLETE),
        ([GroupState.COMPLETE], False, GroupState.NOT_SEARCHED),  # handed over whole, not declared complete
        ([GroupState.NOT_SEARCHED, GroupState.COMPLETE], True, GroupState.COMPLETE),
        ([GroupState.COMPLETE, GroupState.NOT_FETCHED], True, GroupState.NOT_FETCHED),
        ([GroupState.INCOMPLETE, GroupState.NOT_ALLOWED], True, GroupState.NOT_ALLOWED),
        ([GroupState.INCOMPLETE], False, GroupState.INCOMPLETE),
        ([], True, GroupState.NOT_SEARCHED),
    ],
)
def test_a_group_is_as_good_as_its_worst_part(
    make: Make,
    terminology: Terminology,
    states: list[GroupState],
    declared: bool,
    expected: GroupState,
) -> None:
    """Not searched, not fetched, not allowed and incomplete stay different things."""
    parts = [RecordPart(groups=(Group.CONDITIONS,), state=state) for state in states]
    patient = RecordPart(groups=(Group.PATIENT,), state=GroupState.COMPLETE, resources=(msgspec.json.encode(make("Patient")),))
    record = build_record(FetchedRecord(patient_id="p1", parts=(patient, *parts), declared_complete=declared), terminology)
    assert record.group_state(Group.CONDITIONS) is expected
    assert record.group_state(Group.PATIENT) is GroupState.COMPLETE
