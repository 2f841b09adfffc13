"""The fallback scores: published examples, what they refuse, and what they say beside the number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.reason import ReasonCode
from gateway.scores import SCORES, ScoreRefused, ScoreResult
from gateway.scores.lab_reported_egfr import g_stage

MAN = {"age_years": 55, "sex": "male", "bmi_kg_m2": 30.0, "sbp_mm_hg": 140, "bp_treatment_0_1": 0, "smoker_0_1": 0, "diabetes_0_1": 0}
FRAMINGHAM = SCORES["framingham_bmi"]
LAB_EGFR = SCORES["lab_reported_egfr"]
LIVER = {"bilirubin_mg_dl": 2.0, "inr": 1.4, "creatinine_mg_dl": 1.3, "dialysis_2x_7d_0_1": 0}
EXAMPLES = {
    "framingham_bmi": MAN,
    "lab_reported_egfr": {"lab_egfr": 62},
    "kdigo_risk": {"egfr_ml_min_1_73m2": 38.0, "uacr_mg_g": 220.0},
    "kdigo_g_stage_only": {"egfr_ml_min_1_73m2": 38.0},
    "meld_na": {**LIVER, "sodium_mmol_l": 132},
    "meld": LIVER,
    "lace": {"length_of_stay_days": 5, "urgent_admission_0_1": 1, "charlson_index": 2, "ed_visits_prev_6m": 0},
    "qsofa": {"respiratory_rate_per_min": 22, "systolic_bp_mm_hg": 100, "gcs_total": 15},
    "apri": {"ast_u_l": 80.0, "ast_uln_u_l": 40.0, "platelets_10e9_l": 100.0},
}


def test_framingham_gives_the_published_example():
    """D'Agostino 2008, office-based: man of 55 years, BMI 30, SBP 140 untreated; not clamped, and said to over-estimate."""
    result = FRAMINGHAM.compute(MAN)
    assert result.value == pytest.approx(0.167483, abs=5e-7)
    assert result.unit == "1"
    assert any("over-estimate" in note for note in result.notes)


def test_sex_may_be_a_word_or_the_manifests_number():
    """0 is female and 1 is male, as the shipped manifests encode it."""
    for word, number in (("female", 0.0), ("male", 1.0)):
        assert FRAMINGHAM.compute({**MAN, "sex": word}) == FRAMINGHAM.compute({**MAN, "sex": number})


@given(
    age=st.floats(30, 74), sex=st.sampled_from(["female", "male"]), bmi=st.floats(8, 100), sbp=st.floats(40, 300),
    flags=st.tuples(*[st.sampled_from([0, 1])] * 3),
)  # fmt: skip
def test_framingham_is_a_probability_and_rises_with_every_risk_factor(age, sex, bmi, sbp, flags):
    """Whatever plausible input it gets."""
    treated, smoker, diabetes = flags
    inputs = {"age_years": age, "sex": sex, "bmi_kg_m2": bmi, "sbp_mm_hg": sbp, "bp_treatment_0_1": treated}
    risk = FRAMINGHAM.compute({**inputs, "smoker_0_1": smoker, "diabetes_0_1": diabetes}).value
    assert 0 <= risk <= 1
    assert FRAMINGHAM.compute({**inputs, "smoker_0_1": 1, "diabetes_0_1": 1}).value >= risk


@pytest.mark.parametrize("name", list(MAN))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 1e9, "unknown", ""])
def test_framingham_refuses_what_is_absent_or_impossible(name, value):
    """NaN, infinity, nonsense: no number, and the error names the parameter and not the value."""
    with pytest.raises(ScoreRefused, match=name) as refusal:
        FRAMINGHAM.compute({**MAN, name: value})
    assert refusal.value.parameter == name
    assert "1000000000" not in str(refusal.value)


@pytest.mark.parametrize(("name", "value"), [("age_years", 29), ("age_years", 75), ("smoker_0_1", 0.5), ("sex", 0.5), ("sex", "other")])
def test_framingham_is_not_stretched_beyond_whom_it_was_made_for(name, value):
    """Age 30 to 74; a flag is a flag; two sexes."""
    with pytest.raises(ScoreRefused):
        FRAMINGHAM.compute({**MAN, name: value})


@pytest.mark.parametrize("score", [SCORES[name] for name in EXAMPLES], ids=list(EXAMPLES))
def test_a_score_takes_exactly_its_parameters(score):
    """One missing and one it does not know are both refused."""
    inputs = dict(EXAMPLES[score.name])
    score.compute(inputs)
    for name in list(inputs):
        with pytest.raises(ScoreRefused, match=name):
            score.compute({key: value for key, value in inputs.items() if key != name})
    with pytest.raises(ScoreRefused, match="height_cm"):
        score.compute({**inputs, "height_cm": 180})


@pytest.mark.parametrize("score", list(SCORES.values()), ids=list(SCORES))
def test_a_score_names_its_source(score):
    """Own name, citation with a DOI or ISBN, own outcome, limitations."""
    assert SCORES[score.name] is score
    assert score.citation
    assert score.doi.startswith("10.") or "ISBN" in score.citation
    assert score.outcome_text
    assert score.limitations


@pytest.mark.parametrize(
    ("egfr", "stage"),
    [
        (120, "G1"), (90, "G1"), (89.99, "G2"), (60, "G2"), (59.99, "G3a"), (45, "G3a"), (44.99, "G3b"), (30, "G3b"), (29.99, "G4"),
        (15, "G4"), (14.99, "G5"), (0, "G5"),
    ],
)  # fmt: skip
def test_the_stage_is_kdigos(egfr, stage):
    """Every boundary, unrounded."""
    assert g_stage(egfr) == stage
    assert LAB_EGFR.compute({"lab_egfr": egfr}).qualitative == stage


@pytest.mark.parametrize(
    ("code", "words", "flagged"),
    [
        ("98979-8", "CKD-EPI 2021", False),
        ("62238-1", "not the equation of 2021", True),
        ("33914-3", "MDRD", True),
        ("88294-4", "CKD-EPI 2009", True),
        (None, "not named", False),
    ],
)
def test_a_reported_egfr_is_passed_on_with_its_equation(code, words, flagged):
    """The number is not touched; any other equation than that of 2021 carries a caution."""
    inputs = {"lab_egfr": 61.7} if code is None else {"lab_egfr": 61.7, "lab_egfr_loinc": code}
    result = LAB_EGFR.compute(inputs)
    assert (result.value, result.unit) == (61.7, "mL/min/{1.73_m2}")
    assert words in " ".join(result.notes)
    assert [str(caution) for caution in result.cautions] == (["CAUTION:egfr_other_equation"] if flagged else [])
    assert all(caution.code is ReasonCode.CAUTION for caution in result.cautions)


@pytest.mark.parametrize(
    "inputs",
    [
        {"lab_egfr": math.nan},
        {"lab_egfr": -1},
        {"lab_egfr": 201},
        {"lab_egfr": "62"},
        {"lab_egfr": 62, "lab_egfr_loinc": "2160-0"},
        {"lab_egfr": 62, "lab_egfr_loinc": 1.0},
    ],
)
def test_a_reported_egfr_must_be_one(inputs):
    """No NaN, no impossible number, no code of something else."""
    with pytest.raises(ScoreRefused):
        LAB_EGFR.compute(inputs)


def test_a_result_is_a_finite_number():
    """A score cannot hand out NaN by accident."""
    with pytest.raises(ValueError, match="finite"):
        ScoreResult(value=math.nan)
    with pytest.raises(ValueError, match="from 0 on"):
        g_stage(math.nan)
