"""PREVENT: vectors, published examples, a second implementation, and what a missing or impossible input takes away."""

import math
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prevent_by_hand import MODEL_RANGES, OUTCOMES, VARIANTS, YES_NO, read_table, risks

from gateway.inference.engine import InProcessEngine

ROOT = Path(__file__).parents[2]
TABLE = read_table(ROOT / "models" / "prevent" / "1.0.0" / "coefficients.csv")
OUTPUTS = [f"{outcome}_{horizon}y" for horizon in (10, 30) for outcome in OUTCOMES]
REQUIRED = {
    "age_years": 50.0,
    "sex": 0.0,
    "total_cholesterol_mg_dl": 200.0,
    "hdl_cholesterol_mg_dl": 45.0,
    "sbp_mm_hg": 160.0,
    "bmi_kg_m2": 35.0,
    "egfr_ml_min_1_73m2": 90.0,
    "diabetes_0_1": 1.0,
    "smoker_0_1": 0.0,
    "bp_treatment_0_1": 1.0,
    "statin_0_1": 0.0,
}
OPTIONAL = ["hba1c_pct", "uacr_mg_g", "sdi_decile_1_10"]
PATIENT = {**REQUIRED, **dict.fromkeys(OPTIONAL, math.nan)}
HEART_FAILURE = {"heart_failure_10y", "heart_failure_30y"}
ALL = set(OUTPUTS)


@pytest.fixture(scope="session")
def prevent(served):
    """Return a function from inputs and variant to the outputs that apply, by name."""
    engine: InProcessEngine = served[1]

    def run(inputs, variant="base"):
        result = engine.run("prevent", inputs, VARIANTS.index(variant))
        return {name: value for name, value, applies in zip(OUTPUTS, result.values, result.applicable, strict=True) if applies}

    return run


@pytest.mark.parametrize(
    ("sex", "total_cvd", "ascvd", "heart_failure"),
    [(0.0, 0.146839, 0.091951, 0.080561), (1.0, 0.163171, 0.101944, 0.105911)],
    ids=["woman", "man"],
)
def test_the_published_worked_example(prevent, sex, total_cvd, ascvd, heart_failure):
    """Khan 2023, supplement S12: 50 years, TC 200, HDL 45, SBP 160 treated, diabetes, BMI 35, eGFR 90."""
    risk = prevent({**PATIENT, "sex": sex})
    assert risk["total_cvd_10y"] == pytest.approx(total_cvd, abs=5e-7)
    assert risk["ascvd_10y"] == pytest.approx(ascvd, abs=5e-7)
    assert risk["heart_failure_10y"] == pytest.approx(heart_failure, abs=5e-7)
    assert set(risk) == ALL


# input, value (None = absent), outputs that are lost. Data sheet: heart failure uses no lipids and no statin, everything else no BMI.
LOST = [
    ("age_years", None, ALL),
    ("sex", None, ALL),
    ("sbp_mm_hg", None, ALL),
    ("egfr_ml_min_1_73m2", None, ALL),
    ("diabetes_0_1", None, ALL),
    ("smoker_0_1", None, ALL),
    ("bp_treatment_0_1", None, ALL),
    ("total_cholesterol_mg_dl", None, ALL - HEART_FAILURE),
    ("hdl_cholesterol_mg_dl", None, ALL - HEART_FAILURE),
    ("statin_0_1", None, ALL - HEART_FAILURE),
    ("bmi_kg_m2", None, HEART_FAILURE),
    ("age_years", 29, ALL),
    ("age_years", 80, ALL),
    ("age_years", 60, {name for name in ALL if name.endswith("30y")}),
    ("age_years", 59, set()),
    ("age_years", 30, set()),
    ("age_years", 79, {name for name in ALL if name.endswith("30y")}),
    ("sex", 2, ALL),
    ("sex", 0.5, ALL),
    ("sex", -1, ALL),
    ("total_cholesterol_mg_dl", 129.9, ALL - HEART_FAILURE),
    ("total_cholesterol_mg_dl", 320.1, ALL - HEART_FAILURE),
    ("hdl_cholesterol_mg_dl", 19.9, ALL - HEART_FAILURE),
    ("hdl_cholesterol_mg_dl", 100.1, ALL - HEART_FAILURE),
    ("sbp_mm_hg", 89.9, ALL),
    ("sbp_mm_hg", 200.1, ALL),
    ("sbp_mm_hg", 200, set()),
    ("bmi_kg_m2", 18.4, HEART_FAILURE),
    ("bmi_kg_m2", 40, HEART_FAILURE),
    ("egfr_ml_min_1_73m2", 14.9, ALL),
    ("egfr_ml_min_1_73m2", 140.1, ALL),
    ("diabetes_0_1", 2, ALL),
    ("smoker_0_1", 0.5, ALL),
    ("bp_treatment_0_1", -1, ALL),
    ("statin_0_1", 2, ALL - HEART_FAILURE),
]


@pytest.mark.parametrize(("name", "value", "lost"), LOST)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bad_input_takes_away_exactly_the_outputs_that_need_it(prevent, variant, name, value, lost):
    """Absent or outside the model's limits: these outputs and no other, in every variant; the rest keeps its number."""
    whole = {**REQUIRED, "hba1c_pct": 6.0, "uacr_mg_g": 20.0, "sdi_decile_1_10": 5.0}
    expected = prevent({**whole, name: REQUIRED[name] if value is None else value}, variant)
    found = prevent({**whole, name: math.nan if value is None else value}, variant)
    assert set(found) == ALL - lost
    if value is None:
        assert all(found[output] == expected[output] for output in found)


@pytest.mark.parametrize(
    ("name", "value", "variants"),
    [
        ("hba1c_pct", 2.9, {"hba1c", "full"}),
        ("hba1c_pct", 15.1, {"hba1c", "full"}),
        ("uacr_mg_g", 0.09, {"uacr", "full"}),
        ("uacr_mg_g", 25001, {"uacr", "full"}),
        ("uacr_mg_g", 0, {"uacr", "full"}),
        ("uacr_mg_g", -3, {"uacr", "full"}),
        ("sdi_decile_1_10", 0, {"sdi", "full"}),
        ("sdi_decile_1_10", 11, {"sdi", "full"}),
        ("sdi_decile_1_10", 4.5, {"sdi", "full"}),
    ],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_impossible_optional_input_is_never_taken_for_a_missing_one(prevent, variant, name, value, variants):
    """In a variant that uses it everything is withheld; a variant that does not use it is not touched."""
    whole = {**REQUIRED, "hba1c_pct": 6.0, "uacr_mg_g": 20.0, "sdi_decile_1_10": 5.0}
    found = prevent({**whole, name: value}, variant)
    assert found == ({} if variant in variants else prevent(whole, variant))


def test_hdl_must_be_below_total_cholesterol(prevent):
    """An HDL equal to or above the total leaves heart failure only."""
    for hdl, total in ((100.0, 130.0), (99.9, 130.0)):
        assert set(prevent({**PATIENT, "hdl_cholesterol_mg_dl": hdl, "total_cholesterol_mg_dl": total})) == ALL
    assert set(prevent({**PATIENT, "hdl_cholesterol_mg_dl": 150.0, "total_cholesterol_mg_dl": 140.0})) == HEART_FAILURE


@pytest.mark.parametrize(
    ("name", "needed_by"), [("uacr_mg_g", {"uacr", "full"}), ("hba1c_pct", {"hba1c", "full"}), ("sdi_decile_1_10", {"sdi", "full"})]
)
def test_a_missing_optional_input_counts_only_in_the_variants_that_have_its_term(prevent, name, needed_by):
    """The missing-term belongs to the model; in every other variant the input makes no difference at all."""
    whole = {**REQUIRED, "hba1c_pct": 6.0, "uacr_mg_g": 20.0, "sdi_decile_1_10": 5.0}
    for variant in VARIANTS:
        without, with_it = prevent({**whole, name: math.nan}, variant), prevent(whole, variant)
        assert set(without) == set(with_it) == ALL
        assert (without != with_it) is (variant in needed_by)


def test_an_unknown_variant_gives_nothing(served):
    """A variant the table does not have selects coefficients of NaN, below and above; the batch beside it is not touched."""
    session = served[1]._models["prevent"]._session
    import numpy as np  # noqa: PLC0415 - only here: everything else goes through the engine

    feed = {name: np.full(4, value) for name, value in PATIENT.items()} | {"variant": np.array([-1, 5, 99, 0])}
    risk, applicable = session.run(["risk", "applicable"], feed)
    assert not applicable[:3].any()
    assert np.isnan(risk[:3]).all()
    assert applicable[3].all()


def maybe(name: str, *, whole: bool = False):
    """Draw an input: mostly within the model's limits, sometimes on them, outside, or absent."""
    low, high = MODEL_RANGES[name]
    inside = st.integers(int(low), int(high)).map(float) if whole else st.floats(low, high)
    return st.one_of(inside, inside, inside, inside, st.sampled_from([float(low), float(high), low - 1.0, high + 1.0, None]))


patients = st.fixed_dictionaries({
    "age_years": maybe("age_years", whole=True),
    "sex": st.sampled_from([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, None, 2.0]),
    "total_cholesterol_mg_dl": maybe("total_cholesterol_mg_dl"),
    "hdl_cholesterol_mg_dl": maybe("hdl_cholesterol_mg_dl"),
    "sbp_mm_hg": maybe("sbp_mm_hg"),
    "bmi_kg_m2": maybe("bmi_kg_m2"),
    "egfr_ml_min_1_73m2": maybe("egfr_ml_min_1_73m2"),
    **{name: st.sampled_from([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, None, 2.0, 0.5]) for name in YES_NO},
    "hba1c_pct": maybe("hba1c_pct"),
    "uacr_mg_g": maybe("uacr_mg_g"),
    "sdi_decile_1_10": maybe("sdi_decile_1_10", whole=True),
})  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(inputs=patients, variant=st.sampled_from(VARIANTS))
@example(inputs={**PATIENT, **dict.fromkeys(OPTIONAL)}, variant="full")
def test_the_graph_equals_a_second_implementation(prevent, inputs, variant):
    """To 1e-9, for every variant, and withheld exactly where the other one withholds."""
    sex = {0.0: "female", 1.0: "male"}.get(inputs["sex"])
    expected = risks(TABLE, variant, sex, inputs)
    found = prevent({name: math.nan if value is None else value for name, value in inputs.items()}, variant)
    for name, risk in zip(OUTPUTS, expected, strict=True):
        if risk is None:
            assert name not in found
        else:
            assert found[name] == pytest.approx(risk, abs=1e-9, rel=0)


complete = st.fixed_dictionaries({
    "age_years": st.integers(30, 79).map(float),
    "sex": st.sampled_from([0.0, 1.0]),
    **{name: st.floats(*MODEL_RANGES[name]) for name in ("sbp_mm_hg", "bmi_kg_m2", "egfr_ml_min_1_73m2", "hba1c_pct", "uacr_mg_g")},
    "total_cholesterol_mg_dl": st.floats(130, 320),
    "hdl_cholesterol_mg_dl": st.floats(20, 100),
    **{name: st.sampled_from([0.0, 1.0]) for name in YES_NO},
    "sdi_decile_1_10": st.integers(1, 10).map(float),
})  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(inputs=complete, variant=st.sampled_from(VARIANTS), dropped=st.sets(st.sampled_from(OPTIONAL)))
def test_complete_patients_agree_to_the_ninth_digit(prevent, inputs, variant, dropped):
    """The same where nothing is withheld but the 30-year outputs by age, so that every coefficient is compared often."""
    inputs = {name: None if name in dropped else value for name, value in inputs.items()}
    expected = risks(TABLE, variant, ("female", "male")[int(inputs["sex"])], inputs)
    found = prevent({name: math.nan if value is None else value for name, value in inputs.items()}, variant)
    assert len(found) == (10 if inputs["age_years"] <= 59 else 5)
    for name, risk in zip(OUTPUTS, expected, strict=True):
        assert found.get(name) == (None if risk is None else pytest.approx(risk, abs=1e-9, rel=0))
