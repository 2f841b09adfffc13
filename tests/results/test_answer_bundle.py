"""The Bundle that `$assess-risk` answers, element by element (rules 1 and 2)."""

import datetime as dt
import json
import re
import uuid
from pathlib import Path

import msgspec
import orjson
import pytest

from gateway.features.value import Evidence, InputState, InputValue
from gateway.quality.report import Verdict
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import SourceRef
from gateway.results.bundle import render_bundle
from gateway.results.extension import BASE, DATA_ABSENT_REASON
from gateway.results.inputs import input_extension
from gateway.results.number import percent, round_half_up
from gateway.results.reference import source_reference
from gateway.results.risk_assessment import absent_reason, period

GOLDEN = Path(__file__).parent / "golden"
PREVENT, EGFR, FRAMINGHAM, REPORTED = "prevent", "ckdepi2021", "framingham_bmi", "lab_reported_egfr"

# situation -> model or score -> (resource, status, verdict, rung, numbers given, data-absent-reasons where not)
STATUSES = {
    "complete": {
        EGFR: ("Observation", "final", "scored", "cpu", 1, set()),
        PREVENT: ("RiskAssessment", "final", "scored", "cpu", 10, set()),
    },
    "on the GPU": {PREVENT: ("RiskAssessment", "final", "scored", "gpu", 10, set())},
    "no weight: heart failure only is lost": {PREVENT: ("RiskAssessment", "preliminary", "scored-degraded", "cpu", 8, {"unknown"})},
    "blood pressure above 180 is answered with a caution": {
        PREVENT: ("RiskAssessment", "preliminary", "scored-degraded", "cpu", 10, set())
    },
    "no lipids: the fallback score": {
        PREVENT: ("RiskAssessment", "preliminary", "scored-degraded", "cpu", 2, {"unknown"}),
        FRAMINGHAM: ("RiskAssessment", "preliminary", "fallback", "fallback-score", 1, set()),
    },
    "stale cholesterol": {
        PREVENT: ("RiskAssessment", "preliminary", "scored-degraded", "cpu", 2, {"unknown"}),
        FRAMINGHAM: ("RiskAssessment", "preliminary", "fallback", "fallback-score", 1, set()),
    },
    "impossible cholesterol": {PREVENT: ("RiskAssessment", "preliminary", "scored-degraded", "cpu", 2, {"error"})},
    "no smoking status: no estimate": {PREVENT: ("RiskAssessment", "cancelled", "indeterminate", "none", 0, {"unknown"})},
    "no creatinine but a reported eGFR": {
        EGFR: ("Observation", "cancelled", "fallback", "fallback-score", 0, {"unknown"}),
        REPORTED: ("Observation", "preliminary", "fallback", "fallback-score", 1, set()),
        PREVENT: ("RiskAssessment", "preliminary", "scored-degraded", "cpu", 10, set()),
    },
    "laboratory not fetched": {
        EGFR: ("Observation", "cancelled", "indeterminate", "none", 0, {"error"}),
        PREVENT: ("RiskAssessment", "cancelled", "indeterminate", "none", 0, {"error"}),
    },
    "laboratory not allowed": {
        EGFR: ("Observation", "cancelled", "indeterminate", "none", 0, {"masked"}),
        PREVENT: ("RiskAssessment", "cancelled", "indeterminate", "none", 0, {"masked"}),
    },
    "prior heart disease": {PREVENT: ("RiskAssessment", "final", "not-applicable", "none", 0, {"not-applicable"})},
    "dialysis": {
        EGFR: ("Observation", "cancelled", "not-applicable", "none", 0, {"not-applicable"}),
        PREVENT: ("RiskAssessment", "final", "not-applicable", "none", 0, {"not-applicable"}),
    },
    "child": {PREVENT: ("RiskAssessment", "final", "not-applicable", "none", 0, {"not-applicable"})},
    "deceased": {PREVENT: ("RiskAssessment", "final", "not-applicable", "none", 0, {"not-applicable"})},
    "graphs cannot be run": {
        EGFR: ("Observation", "cancelled", "indeterminate", "none", 0, {"error"}),
        PREVENT: ("RiskAssessment", "cancelled", "fallback", "fallback-score", 0, {"error"}),
        FRAMINGHAM: ("RiskAssessment", "preliminary", "fallback", "fallback-score", 1, set()),
    },
}
TITLES = {
    PREVENT: "PREVENT 1.0.0",
    EGFR: "CKD-EPI 2021 eGFR (creatinine) 1.0.0",
    FRAMINGHAM: "Framingham general cardiovascular risk (BMI form)",
    REPORTED: "eGFR reported by the laboratory",
}


def resources(answer):
    """The assessments and Observations of an answer as a client decodes them, by the name of model or score."""
    body = orjson.loads(orjson.dumps(render_bundle(answer)))
    names = {title: name for name, title in TITLES.items()}
    kept = (entry["resource"] for entry in body["entry"])
    return {names[resource["method"]["text"]]: resource for resource in kept if resource["resourceType"] != "Device"}


def devices(answer):
    entries = render_bundle(answer)["entry"]
    return {entry["fullUrl"]: entry["resource"] for entry in entries if entry["resource"]["resourceType"] == "Device"}


def said(resource, name):
    """The values of our extensions of that name."""
    return [
        extension.get("valueCode", extension.get("valueString"))
        for extension in resource["extension"]
        if extension["url"] == f"{BASE}/StructureDefinition/{name}"
    ]


def inputs_of(resource):
    """The inputs an answer tells of, by name: each part's values by name of the part."""
    found = {}
    for extension in resource["extension"]:
        if extension["url"] == f"{BASE}/StructureDefinition/input":
            parts = {}
            for part in extension["extension"]:
                parts.setdefault(part["url"], []).append(next(value for key, value in part.items() if key != "url"))
            found[parts["name"][0]] = parts
    return found


def numbers_of(resource):
    if resource["resourceType"] == "Observation":
        return [resource["valueQuantity"]["value"]] if "valueQuantity" in resource else []
    return [prediction["probabilityDecimal"] for prediction in resource["prediction"] if "probabilityDecimal" in prediction]


def absent_of(resource):
    if resource["resourceType"] == "Observation":
        return {coding["code"] for coding in resource.get("dataAbsentReason", {}).get("coding", [])}
    return {extension["valueCode"] for prediction in resource["prediction"] for extension in prediction.get("extension", [])}


@pytest.mark.parametrize("situation", STATUSES)
def test_status_and_numbers_follow_the_verdict(answers, situation):
    """Each situation has the status, verdict, rung, numbers and data-absent-reasons of the table."""
    found = resources(answers.cases()[situation])
    for name, expected in STATUSES[situation].items():
        resource = found[name]
        got = (
            resource["resourceType"],
            resource["status"],
            said(resource, "verdict")[0],
            said(resource, "rung")[0],
            len(numbers_of(resource)),
            absent_of(resource),
        )
        assert got == expected, name


def test_outcome_without_a_number_says_why_and_never_carries_one(answers):
    """A prediction has either a number or, on itself, a data-absent-reason and a rationale; never both, never neither."""
    for answer in answers.cases().values():
        for resource in resources(answer).values():
            for prediction in resource.get("prediction", []):
                has_reason = [extension["url"] for extension in prediction.get("extension", [])] == [DATA_ABSENT_REASON]
                assert ("probabilityDecimal" in prediction) is not has_reason
                assert prediction["rationale"]
                assert "_probabilityDecimal" not in prediction


def test_disease_that_excludes_is_not_read_as_low_risk(answers):
    """Not applicable because of disease is said in the manifest's words, in every place a person reads."""
    resource = resources(answers.cases()["prior heart disease"])[PREVENT]
    words = "known cardiovascular disease, already above primary-prevention risk"
    assert words in resource["text"]["div"]
    assert words in resource["note"][0]["text"]
    assert all(words in prediction["rationale"] for prediction in resource["prediction"])
    assert len(resource["prediction"]) == 10


REASONS = [
    (Verdict.NOT_APPLICABLE, ("PRIOR_CVD", "NOT_FETCHED"), "not-applicable"),
    (Verdict.INDETERMINATE, ("NOT_ALLOWED", "NOT_FETCHED"), "masked"),
    (Verdict.INDETERMINATE, ("NOT_FETCHED", "MISSING_INPUT"), "error"),
    (Verdict.INDETERMINATE, ("IMPLAUSIBLE_VALUE",), "error"),
    (Verdict.INDETERMINATE, ("RUNTIME_FAILURE",), "error"),
    (Verdict.INDETERMINATE, ("MISSING_INPUT",), "unknown"),
    (Verdict.INDETERMINATE, ("STALE_INPUT", "CAUTION"), "unknown"),
    (Verdict.INDETERMINATE, ("INCONSISTENT",), "unknown"),
    (Verdict.SCORED_DEGRADED, ("VALUE_OUT_OF_MODEL_RANGE",), "unknown"),
    (Verdict.INDETERMINATE, (), "unknown"),
]


@pytest.mark.parametrize(("verdict", "codes", "expected"), REASONS)
def test_data_absent_reason_follows_the_reasons(verdict, codes, expected):
    """Not applicable by verdict; else masked before error before unknown."""
    assert absent_reason(verdict, [Reason(ReasonCode(code), "x") for code in codes]) == expected


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (0.0, 0.0),
        (1.0, 100.0),
        (0.146839, 14.684),
        (0.0749996, 7.5),
        (0.00000123, 0.0),
        (0.9999999, 100.0),
        (0.5, 50.0),
        (0.12345678901, 12.346),
    ],
)
def test_probability_is_written_in_percent_with_three_decimals(probability, shown):
    """`probabilityDecimal` is a percentage (ras-2), never a fraction."""
    assert percent(probability) == shown


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [(59.5, 0, 60), (60.5, 0, 61), (61.5, 0, 62), (59.49999, 0, 59), (0.4999, 0, 0), (14.25, 1, 14.3), (90.0, 0, 90)],
)
def test_measurement_is_rounded_half_up(value, decimals, shown):
    """Laboratories round half up, also where Python rounds half to even."""
    assert round_half_up(value, decimals) == shown


def test_egfr_is_an_observation_with_an_integer(answers):
    """The eGFR answers with LOINC 98979-8, an integer, the creatinine it derives from, and no performer (R4 allows no Device there)."""
    record = answers.charts.record(*answers.charts.complete())
    resource = resources(answers.about(record, egfr=59.5))[EGFR]
    quantity = resource["valueQuantity"]
    assert (quantity["value"], type(quantity["value"]), quantity["code"]) == (60, int, "mL/min/{1.73_m2}")
    assert resource["code"]["coding"][0]["code"] == "98979-8"
    assert len(resource["derivedFrom"]) == 1
    assert "performer" not in resource
    assert resource["device"]["reference"] in devices(answers.about(record))


def test_reported_egfr_keeps_the_code_it_was_reported_under(answers):
    """A laboratory's number by another equation is never written under the code of CKD-EPI 2021."""
    found = resources(answers.cases()["no creatinine but a reported eGFR"])
    assert found[REPORTED]["code"]["coding"] == [{"system": "http://loinc.org", "code": "33914-3"}]
    assert found[REPORTED]["valueQuantity"]["value"] == 71.0
    assert said(found[REPORTED], "stand-in-for") == [EGFR]
    assert "derivedFrom" not in found[EGFR]


def test_fallback_stands_under_its_own_name(answers):
    """The score names itself, its outcome, its citation and why it stands there; the model's own resource holds no number of it."""
    found = resources(answers.cases()["graphs cannot be run"])
    score, model = found[FRAMINGHAM], found[PREVENT]
    assert score["method"]["coding"][0]["code"] == FRAMINGHAM
    assert said(score, "stand-in-for") == [PREVENT]
    assert "is another score than PREVENT" in score["note"][0]["text"]
    assert "Circulation 2008" in score["note"][1]["text"]
    assert score["prediction"][0]["outcome"]["text"].startswith("First general cardiovascular disease event")
    assert numbers_of(model) == []
    assert score["performer"] != model["performer"]


def test_security_label_tells_models_from_rule_based_scores(answers):
    """AIAST on what a model answered, with or without a number; DEVAST on a published score; on their Devices alike."""
    for answer in answers.cases().values():
        made = devices(answer)
        for name, resource in resources(answer).items():
            label = "AIAST" if name in (PREVENT, EGFR) else "DEVAST"
            device = made[(resource.get("performer") or resource.get("device"))["reference"]]
            assert [each["meta"]["security"][0]["code"] for each in (resource, device)] == [label, label]


def test_basis_is_exactly_what_was_used(answers):
    """Versioned references to the resources of the usable inputs, each once; nothing where no number rests on them."""
    answer = answers.cases()["no weight: heart failure only is lost"]
    resource = resources(answer)[PREVENT]
    used = {
        f"{answers.base_url}/{evidence.source.reference}"
        for value in answer.answers[-1].report.inputs.values()
        if value.usable
        for evidence in value.evidence
    }
    references = [each["reference"] for each in resource["basis"]]
    assert set(references) == used
    assert len(references) == len(set(references))
    assert all("/_history/" in reference for reference in references)
    assert "basis" not in resources(answers.cases()["prior heart disease"])[PREVENT]


def test_basis_leaves_out_what_only_a_withheld_outcome_needs(answers):
    """Total cholesterol without HDL gives heart failure alone, which does not use it: it is no basis, but still told as an input."""
    charts = answers.charts
    entries = answers.without("hdl_cholesterol", "total_cholesterol")
    without, lone = answers.about(charts.record(*entries)), answers.about(charts.record(*entries, charts.lab("total_cholesterol", 200.0)))
    assert resources(lone)[PREVENT]["basis"] == resources(without)[PREVENT]["basis"]
    assert "total_cholesterol" in inputs_of(resources(lone)[PREVENT])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (SourceRef("Observation", "a", "3"), {"reference": "https://x.example/fhir/Observation/a/_history/3"}),
        (
            SourceRef("Observation", "a", None, "ab" * 32),
            {
                "reference": "https://x.example/fhir/Observation/a",
                "extension": [{"url": f"{BASE}/StructureDefinition/resource-sha256", "valueString": "ab" * 32}],
            },
        ),
        (SourceRef("Observation", "a", 'W/"3"\n'), {"reference": "https://x.example/fhir/Observation/a"}),
        (
            SourceRef("Observation", "?", None, "ab" * 32),
            {
                "type": "Observation",
                "identifier": {"value": "?"},
                "extension": [{"url": f"{BASE}/StructureDefinition/resource-sha256", "valueString": "ab" * 32}],
            },
        ),
    ],
)
def test_reference_is_versioned_or_carries_a_digest(source, expected):
    """A version is never invented; a resource without an address is named by type and digest."""
    assert source_reference(source, "https://x.example/fhir/") == expected


def test_references_are_absolute_on_the_tenants_base(answers):
    """Subject and basis are absolute on the FHIR base, relative where there is none; entries are urn:uuid."""
    cases = answers.cases()
    assert resources(cases["complete"])[PREVENT]["subject"] == {"reference": f"{answers.base_url}/Patient/p"}
    assert resources(cases["no base URL"])[PREVENT]["subject"] == {"reference": "Patient/p"}
    for entry in render_bundle(cases["complete"])["entry"]:
        assert str(uuid.UUID(entry["fullUrl"].removeprefix("urn:uuid:"))) in entry["fullUrl"]


def test_when_period_is_the_horizon_from_the_as_of_time(answers):
    """A horizon of 10 years is a whenPeriod of ten calendar years; `whenRange` would be an age."""
    first, *_, last = resources(answers.cases()["complete"])[PREVENT]["prediction"]
    assert first["whenPeriod"] == {"start": "2026-06-15T12:00:00+00:00", "end": "2036-06-15T12:00:00+00:00"}
    assert last["whenPeriod"]["end"] == "2056-06-15T12:00:00+00:00"
    leap_day = dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
    assert period(leap_day, 10) == {"start": "2024-02-29T00:00:00+00:00", "end": "2034-02-28T00:00:00+00:00"}


def test_inputs_are_readable_with_raw_value_and_lineage(answers):
    """Each input tells name, state, value, unit, time, raw value, source, reasons, and which model computed it."""
    inputs = inputs_of(resources(answers.cases()["stale cholesterol"])[PREVENT])
    cholesterol = inputs["total_cholesterol"]
    assert cholesterol["state"] == ["stale"]
    assert cholesterol["value"] == [{"value": 210.0, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}]
    assert cholesterol["raw"] == ["210.0 mg/dL"]
    assert cholesterol["reason"] == ["STALE_INPUT:total_cholesterol"]
    assert cholesterol["time"][0].startswith("2015-07-0")
    assert cholesterol["source"][0]["reference"].startswith(f"{answers.base_url}/Observation/")
    assert inputs["egfr"]["lineage"] == [f"ckdepi2021@1.0.0 {'ab' * 32}"]
    assert inputs["prior_cvd"]["state"] == ["concluded-absent"]
    assert set(inputs) >= {spec.name for spec in answers.charts.manifests[PREVENT].inputs}


def test_age_known_to_the_year_only_shows_both_ends():
    """Where only an interval is known, both ends stand in the answer."""
    value = InputValue(name="age", concept="age", state=InputState.MISSING, unit="a", interval=(55.0, 56.0))
    parts = input_extension(value, None)["extension"]
    assert {"url": "low", "valueDecimal": 55.0} in parts
    assert {"url": "high", "valueDecimal": 56.0} in parts


def test_band_names_the_older_guideline_it_comes_from(answers):
    """A band is taken from a guideline made for other equations: its source is said wherever it stands."""
    ascvd = resources(answers.cases()["complete"])[PREVENT]["prediction"][1]
    assert ascvd["qualitativeRisk"]["text"] == "intermediate"
    assert ascvd["qualitativeRisk"]["coding"][0]["code"] == "moderate"
    assert "not for PREVENT" in ascvd["rationale"]


def test_terms_are_told_on_the_models_own_scale(answers):
    """Explanations are associations on the model's own scale, the largest first, never percentage points."""
    answer = answers.cases()["complete"]
    found = answer.answers[-1]
    explained = msgspec.structs.replace(found.predictions[0], terms={"age": 0.1, "sbp": 0.36, "smoker_x_age": -0.2})
    answer = msgspec.structs.replace(answer, answers=(msgspec.structs.replace(found, predictions=(explained, *found.predictions[1:])),))
    rationale = resources(answer)[PREVENT]["prediction"][0]["rationale"]
    assert rationale.endswith("(association, not cause; not percentage points): sbp +0.36, smoker x age -0.2, age +0.1")


def test_note_says_setting_rung_and_that_an_answer_is_retrospective(answers):
    """The note tells how the care setting was known, what ran, why not a higher rung, and that statuses are today's."""
    cases = answers.cases()
    note = resources(cases["complete"])[PREVENT]["note"][0]["text"]
    assert "model on CPU; care setting ambulatory (by default)" in note
    assert "Retrospective" not in note
    assert all("statuses are today's" in each["note"][0]["text"] for each in resources(cases["retrospective"]).values())
    assert "no rung could run the graph" in resources(cases["graphs cannot be run"])[EGFR]["note"][0]["text"]


def test_narrative_is_always_there_and_hostile_text_stays_text(answers):
    """A record's text cannot become markup, in the narrative or anywhere else."""
    hostile = '<script>alert("x")</script> & \x07\u202e'
    answer = answers.cases()["complete"]
    found = answer.answers[-1]
    evidence = Evidence(source=SourceRef("Observation", "s", "1"), raw_value=hostile)
    smoker = msgspec.structs.replace(found.report.inputs["smoker"], text=hostile, evidence=(evidence,))
    report = msgspec.structs.replace(found.report, inputs={**found.report.inputs, "smoker": smoker})
    resource = resources(msgspec.structs.replace(answer, answers=(msgspec.structs.replace(found, report=report),)))[PREVENT]
    assert "<script" not in resource["text"]["div"]
    assert "&lt;script&gt;" in resource["text"]["div"]
    parts = inputs_of(resource)["smoker"]
    assert parts["text"] == parts["raw"] == ['<script>alert("x")</script> &']


def test_ids_derive_from_the_assessment_and_what_was_found(answers):
    """The same answer gives the same bytes; another assessment other entries but the same identifiers; another finding others."""
    cases = answers.cases()
    answer = cases["complete"]
    again = msgspec.structs.replace(answer, assessment_id="11111111-0f52-4c0e-9d37-111111111111")
    assert orjson.dumps(render_bundle(answer)) == orjson.dumps(render_bundle(answer))
    assert render_bundle(again)["entry"][0]["fullUrl"] != render_bundle(answer)["entry"][0]["fullUrl"]

    def identifier(answer):
        return resources(answer)[PREVENT]["identifier"][0]["value"]

    assert identifier(again) == identifier(answer)
    different = {identifier(case) for name, case in cases.items() if name not in ("complete", "on the GPU", "retrospective", "no base URL")}
    assert identifier(answer) not in different
    assert len(different) == len(cases) - 4
    assert identifier(cases["no base URL"]) != identifier(answer)


def test_failed_run_and_its_repair_have_different_identifiers(answers):
    """A conditional create after a failure must not be answered with the cancelled one."""
    record = answers.charts.record(*answers.charts.complete())
    one, other = (resources(answers.about(record, risks=risks))[PREVENT]["identifier"] for risks in (None, (0.1,) * 10))
    assert one != other


def test_device_is_shared_by_answers_but_not_the_dictionary(answers):
    """One Device per release, the same in each answer; a caller that changes one does not change the next."""
    answer = answers.cases()["complete"]
    first = devices(answer)
    assert devices(answer) == first
    next(iter(first.values()))["status"] = "inactive"
    assert all("status" not in device for device in devices(answer).values())


def test_variant_is_named_where_it_answered(answers):
    """The variant of the model that gave the numbers stands in the answer."""
    assert said(resources(answers.cases()["complete"])[PREVENT], "variant") == ["base"]
    assert said(resources(answers.cases()["prior heart disease"])[PREVENT], "variant") == []


def reviewable(resource):
    """The resource without its inputs, which have a test of their own, and with every derived id alike."""
    shown = {**resource, "extension": [each for each in resource["extension"] if not each["url"].endswith("/input")]}
    text = json.dumps(shown, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    return re.sub(r"urn:uuid:[0-9a-f-]{36}", "urn:uuid:...", text)


@pytest.mark.parametrize(
    ("situation", "name", "file"),
    [
        ("no weight: heart failure only is lost", PREVENT, "part_of_the_outcomes.json"),
        ("prior heart disease", PREVENT, "not_applicable.json"),
        ("no creatinine but a reported eGFR", REPORTED, "reported_egfr.json"),
        ("graphs cannot be run", FRAMINGHAM, "fallback_score.json"),
    ],
)
def test_whole_resource_is_as_reviewed(answers, situation, name, file):
    """One resource per kind is kept whole, so that every change of shape is seen by a person."""
    text = reviewable(resources(answers.cases()[situation])[name])
    assert (GOLDEN / file).read_text(encoding="utf-8") == text
