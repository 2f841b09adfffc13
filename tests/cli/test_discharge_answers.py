"""HOSPITAL from a record: which stay is meant, what was measured and done in it, what came before it, what is said of what is missing."""

import json

import pytest
from score_answers import number_of, risk_answers

AS_OF = "2026-03-10T16:00:00Z"
PRIORITY = "http://terminology.hl7.org/CodeSystem/v3-ActPriority"
BLOODS = {"718-7": (11.2, "g/dL"), "2951-2": (133, "mmol/L")}
SUBJECT = {"reference": "Patient/p"}


def encounter(name, kind, start, end=None, priority=None):
    """Return an Encounter."""
    period = {"start": start} | ({"end": end} if end else {})
    found = {"resourceType": "Encounter", "id": name, "status": "finished" if end else "in-progress", "subject": SUBJECT, "period": period}
    return found | {"class": {"code": kind}} | ({"priority": {"coding": [{"system": PRIORITY, "code": priority}]}} if priority else {})


INDEX = encounter("index", "IMP", "2026-03-02T22:30:00+01:00", "2026-03-10T10:00:00+01:00", "UR")
BEFORE = [encounter(f"e{month}", "IMP", f"2025-{month:02d}-01T08:00:00Z", f"2025-{month:02d}-03T08:00:00Z") for month in (4, 7, 10)]


def discharged(tmp_path, *entries, bloods=BLOODS, at="2026-03-10T06:00:00+01:00", procedures=("2026-03-04",), cancer=False):
    """Write a Bundle of a woman around her discharge."""
    patient = {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1950-01-01"}
    resources = [patient, *(entries or (INDEX, *BEFORE))]
    for code, (value, unit) in bloods.items():
        quantity = {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
        observation = {"resourceType": "Observation", "id": f"o{code}", "status": "final", "subject": SUBJECT, "valueQuantity": quantity}
        resources.append(observation | {"code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "effectiveDateTime": at})
    for place, day in enumerate(procedures):
        done = {"resourceType": "Procedure", "id": f"pr{place}", "status": "completed", "subject": SUBJECT, "performedDateTime": day}
        resources.append(done | {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "76601001", "display": "Injection"}]}})
    if cancer:
        active = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
        condition = {"resourceType": "Condition", "id": "c", "subject": SUBJECT, "clinicalStatus": active, "recordedDate": "2025-01-01"}
        resources.append(condition | {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "363346000"}]}})
    path = tmp_path / "discharged.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}))
    return path


def answers_about(run, path):
    """Return the RiskAssessments: the model's, then those of scores that stand in."""
    return risk_answers(run, path, "hospital", AS_OF)


@pytest.mark.parametrize(
    ("entries", "said", "score"),
    [
        ((), {}, 8),  # haemoglobin 1, sodium 1, procedure 1, urgent 1, three admissions 2, eight nights 2
        ((), {"cancer": True}, 10),
        ((), {"procedures": ()}, 7),
        ((), {"procedures": ("2026-02-20",)}, 7),
        ((), {"bloods": {"718-7": (12.0, "g/dL"), "2951-2": (135, "mmol/L")}}, 6),
        ((), {"bloods": {"718-7": (118, "g/L"), "2951-2": (133, "mmol/L")}}, 8),
        ((INDEX, BEFORE[0]), {}, 6),
        ((INDEX,), {}, 6),
        ((encounter("index", "IMP", "2026-03-02T22:30:00Z", "2026-03-10T10:00:00Z", "EL"), *BEFORE), {}, 7),
        ((encounter("index", "IMP", "2026-03-06T22:30:00Z", "2026-03-10T10:00:00Z", "UR"), *BEFORE), {"procedures": ()}, 5),
        ((encounter("index", "IMP", "2026-03-02T22:30:00Z", None, "UR"), *BEFORE), {}, 8),
        ((encounter("index", "IMP", "2026-03-02T22:30:00Z", "2026-03-10T10:00:00Z"),
          encounter("ed", "EMER", "2026-03-02T18:00:00Z", "2026-03-02T22:00:00Z")), {}, 6),
        ((INDEX, encounter("obs", "OBSENC", "2025-09-01", "2025-09-02"), encounter("old", "IMP", "2024-09-01", "2024-09-02")), {}, 6),
        ((encounter("index", "IMP", "2026-03-05", "2026-03-09", "UR"), *BEFORE), {"at": "2026-03-08T06:00:00Z", "procedures": ()}, 5),
        ((INDEX, encounter("ward", "IMP", "2026-03-01T08:00:00Z", "2026-03-04T08:00:00Z"),
          encounter("never closed", "IMP", "2025-06-01")), {}, 6),
    ],
    ids=["all items but cancer", "cancer", "no procedure", "a procedure before the stay", "normal bloods", "g/L", "one stay before",
         "no stay before", "elective", "four nights", "not yet discharged", "through the emergency department", "no admissions before",
         "four nights by dates alone", "neither one that overlaps nor one never closed"],
)  # fmt: skip
def test_a_discharge_gives_the_score(run, tmp_path, entries, said, score):
    """Items from the index stay and from what came before it; points, the observed rate of the band as observed, never a probability."""
    (answer,) = answers_about(run, discharged(tmp_path, *entries, **said))
    assert number_of(answer) == score
    assert "probabilityDecimal" not in answer["prediction"][0]
    assert "Observed in that source in this band" in answer["prediction"][0]["rationale"]


@pytest.mark.parametrize(
    ("entries", "said", "ends", "says"),
    [
        ((), {"bloods": {"718-7": (11.2, "g/dL")}}, (7, 8), "at least high"),
        ((), {"bloods": {"718-7": (11.2, "g/dL"), "2951-2": (13, "mmol/L")}}, (7, 8), "at least high"),
        ((), {"at": "2026-02-25"}, (6, 8), "at least intermediate"),
        ((encounter("index", "IMP", "2026-03-06T22:30:00Z", "2026-03-10T10:00:00Z"),), {"procedures": ()}, (2, 3), "at least low"),
    ],
    ids=["no sodium", "an impossible sodium", "bloods from before the stay", "nothing says how urgent"],
)
def test_what_is_missing_gives_the_range(run, tmp_path, entries, said, ends, says):
    """Both ends, and the band with "at least": stays elsewhere are invisible."""
    own, bounds = answers_about(run, discharged(tmp_path, *entries, **said))
    assert own["status"] == "cancelled"
    parts = bounds["prediction"][0]["extension"][0]["extension"]
    assert tuple(next(part[kind] for kind in ("valueDecimal", "valueInteger") if kind in part) for part in parts) == ends
    assert bounds["prediction"][0]["qualitativeRisk"]["text"] == says


@pytest.mark.parametrize(
    "entries",
    [
        (encounter("visit", "AMB", "2026-03-09", "2026-03-09"),),
        (encounter("index", "IMP", "2026-02-01T08:00:00Z", "2026-02-10T08:00:00Z", "UR"),),
        (encounter("obs", "OBSENC", "2026-03-02T08:00:00Z", "2026-03-10T08:00:00Z"),),
    ],
    ids=["never in hospital", "discharged a month ago", "an observation stay"],
)
def test_without_a_stay_there_is_nothing_to_say(run, tmp_path, entries):
    """No score, and no range from 0 to 13 either."""
    (answer,) = answers_about(run, discharged(tmp_path, *entries))
    assert answer["status"] == "cancelled"
    assert "MISSING_INPUT:length_of_stay" in json.dumps(answer)


def test_bloods_of_the_first_days_are_used_and_told(run, tmp_path):
    """The early variant performed alike: a caution, not a refusal."""
    (answer,) = answers_about(run, discharged(tmp_path, at="2026-03-04T06:00:00Z"))
    assert (answer["status"], number_of(answer)) == ("preliminary", 8)
    assert "early:hemoglobin" in json.dumps(answer)


def test_an_impossible_later_value_of_the_stay_is_told(run, tmp_path):
    """The rules of any newest value hold within the stay too: the good one is used, and the newer bad one said."""
    path = discharged(tmp_path)
    bundle = json.loads(path.read_text())
    later = next(one["resource"] for one in bundle["entry"] if one["resource"]["id"] == "o718-7")
    quantity = later["valueQuantity"] | {"value": 112}
    bundle["entry"].append(
        {"resource": later | {"id": "later", "effectiveDateTime": "2026-03-10T08:00:00+01:00", "valueQuantity": quantity}}
    )
    path.write_text(json.dumps(bundle))
    (answer,) = answers_about(run, path)
    assert (answer["status"], number_of(answer)) == ("preliminary", 8)
    assert "newer_unusable:hemoglobin" in json.dumps(answer)
