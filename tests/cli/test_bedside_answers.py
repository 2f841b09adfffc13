"""NEWS2 from a record: where its inputs stand, what one round of observations is, and what is said when something is missing."""

import json

import pytest
from score_answers import number_of, risk_answers

AS_OF = "2026-01-06T12:00:00Z"
LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
WELL = {
    "9279-1": (18, "/min"),
    "59408-5": (95, "%"),
    "8310-5": (37.2, "Cel"),
    "8480-6": (118, "mm[Hg]"),
    "8867-4": (88, "/min"),
    "3151-8": (0, "L/min"),
    "80288-4": "248234008",  # mentally alert
}


def ward_record(tmp_path, changes=(), *, at=None, ward="IMP", conditions=(), born="1955-06-01"):
    """Write a Bundle of a man in hospital with one round of observations; `changes` replaces them by code (None: not there)."""
    subject = {"reference": "Patient/ward"}
    stay = {"resourceType": "Encounter", "id": "stay", "status": "in-progress", "subject": subject, "class": {"code": ward}}
    entries = [
        {"resourceType": "Patient", "id": "ward", "gender": "male", "birthDate": born},
        stay | {"period": {"start": "2026-01-05T08:00:00Z"}},
    ]
    entries += [
        {
            "resourceType": "Condition",
            "id": f"c-{code}",
            "subject": subject,
            "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
            "code": {"coding": [{"system": SNOMED, "code": code}]},
            "recordedDate": "2020-01-01",
        }
        for code in conditions
    ]
    for code, found in {**WELL, **dict(changes)}.items():
        if found is None:
            continue
        entry = {"resourceType": "Observation", "id": f"o-{code}", "status": "final", "subject": subject}
        entry |= {"code": {"coding": [{"system": LOINC, "code": code}]}, "effectiveDateTime": (at or {}).get(code, "2026-01-06T11:40:00Z")}
        if isinstance(found, str):
            entry["valueCodeableConcept"] = {"coding": [{"system": SNOMED, "code": found}]}
        else:
            entry["valueQuantity"] = {"value": found[0], "unit": found[1], "system": "http://unitsofmeasure.org", "code": found[1]}
        entries.append(entry)
    path = tmp_path / "ward.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]}))
    return path


def answers_about(run, path):
    """Return the RiskAssessments: the model's, then those of scores that stand in."""
    return risk_answers(run, path, "news2", AS_OF)


@pytest.mark.parametrize(
    ("changes", "score", "band"),
    [
        ({}, 1, "low"),
        ({"3151-8": (2, "L/min")}, 3, "low"),
        ({"3151-8": None, "3150-0": (28, "%")}, 3, "low"),
        ({"3151-8": "371825009"}, 3, "low"),
        ({"80288-4": "130987000"}, 4, "low-medium"),
        ({"80288-4": None, "9269-2": (14, "{score}")}, 4, "low-medium"),
        ({"80288-4": None, "9269-2": (15, "{score}")}, 1, "low"),
        ({"8310-5": (100.4, "[degF]")}, 1, "low"),
        ({"8310-5": (100.5, "[degF]")}, 2, "low"),
        ({"9279-1": (25, "/min"), "59408-5": (91, "%"), "80288-4": "300202002"}, 9, "high"),
    ],
    ids=["well", "flow", "FiO2", "oxygen by code", "new confusion", "GCS 14", "GCS 15", "38.0 Cel", "38.1 Cel", "very ill"],
)
def test_a_complete_round_gives_the_score(run, tmp_path, changes, score, band):
    """Oxygen by flow, by concentration or by code; consciousness by code, else by GCS; points and band, never a probability."""
    (answer,) = answers_about(run, ward_record(tmp_path, changes))
    assert answer["status"] == "final"
    assert number_of(answer) == score
    assert band in json.dumps(answer["prediction"][0]["qualitativeRisk"])
    assert "probabilityDecimal" not in answer["prediction"][0]


@pytest.mark.parametrize(
    ("changes", "at", "ends", "says", "others"),
    [
        ({"8310-5": None}, None, (1, 4), "at least 1; the band is not known", 2),
        ({"3151-8": None}, None, (1, 3), "at least 1; the band is not known", 2),
        ({"80288-4": None}, None, (1, 4), "at least 1; the band is not known", 1),
        ({"8310-5": None, "9279-1": (25, "/min"), "59408-5": (90, "%")}, None, (6, 9), "medium or higher", 2),
        ({}, {"8310-5": "2026-01-06T06:00:00Z"}, (1, 4), "at least 1; the band is not known", 1),
        ({}, {"8310-5": "2026-01-05T20:00:00Z"}, (1, 4), "at least 1; the band is not known", 2),
        ({"8310-5": (98.6, "Cel")}, None, (1, 4), "at least 1; the band is not known", 2),
    ],
    ids=["no temperature", "no oxygen", "no consciousness", "ill", "another round", "too old", "impossible"],
)
def test_an_incomplete_round_gives_the_range_and_never_reassures(run, tmp_path, changes, at, ends, says, others):
    """What lies outside the newest one's four hours counts as missing, and opens no qSOFA; no answer calls the patient low risk."""
    own, *scores = answers_about(run, ward_record(tmp_path, changes, at=at))
    assert own["status"] == "cancelled"
    assert len(scores) == others
    parts = scores[0]["prediction"][0]["extension"][0]["extension"]
    assert tuple(next(part[kind] for kind in ("valueDecimal", "valueInteger") if kind in part) for part in parts) == ends
    assert says in scores[0]["prediction"][0]["qualitativeRisk"]["text"]
    assert not {"low", "low risk"} & {score["prediction"][0]["qualitativeRisk"]["text"] for score in scores}


@pytest.mark.parametrize(
    ("said", "code"),
    [({"ward": "AMB"}, "CARE_SETTING"), ({"born": "2012-01-01"}, "AGE_OUT_OF_RANGE")],
    ids=["in a practice", "a child"],
)
def test_whom_it_is_not_made_for(run, tmp_path, said, code):
    """Not applicable, with the reason: no number, no range."""
    (answer,) = answers_about(run, ward_record(tmp_path, **said))
    assert number_of(answer) is None
    assert "not-applicable" in json.dumps(answer)
    assert code in json.dumps(answer)


def test_in_an_emergency_department_a_round_is_one_hour(run, tmp_path):
    """Twenty minutes and seventy minutes ago are two rounds there, and one round on the ward."""
    at = {"8310-5": "2026-01-06T10:30:00Z"}
    assert answers_about(run, ward_record(tmp_path, at=at))[0]["status"] == "final"
    own, bounds, *_ = answers_about(run, ward_record(tmp_path, at=at, ward="EMER"))
    assert own["status"] == "cancelled"
    assert "range of points" in bounds["prediction"][0]["outcome"]["text"]


def test_a_lung_disease_selects_no_other_scale_but_is_told(run, tmp_path):
    """COPD on record: scale 1 all the same, with the caution that a target of 88 to 92 % may have been set."""
    (answer,) = answers_about(run, ward_record(tmp_path, {"59408-5": (90, "%")}, conditions=["13645005"]))
    assert number_of(answer) == 3
    assert answer["status"] == "preliminary"
    assert "spo2_scale_1_in_chronic_respiratory_disease" in json.dumps(answer)


def test_where_hours_decide_the_time_of_day_is_told(run, tmp_path):
    """A pulse of 11:40 is not one of that day: people see when it was taken."""
    told = run("assess", ward_record(tmp_path), "--model", "news2", "--as-of", AS_OF, "--record-complete")
    assert "heart_rate 88 /min (2026-01-06T11:40+00:00)" in told.stdout


def test_a_newer_flow_that_cannot_be_is_told_beside_room_air(run, tmp_path):
    """Room air by code, then a flow of 900 L/min: the code is used, and nobody is left to think that nothing came after it."""
    path = ward_record(tmp_path, {"3151-8": (900, "L/min"), "3150-0": "722742002"}, at={"3150-0": "2026-01-06T11:00:00Z"})
    (answer,) = answers_about(run, path)
    assert (answer["status"], number_of(answer)) == ("preliminary", 1)
    assert "newer_unusable:supplemental_oxygen" in json.dumps(answer)
