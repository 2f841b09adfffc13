"""CKD-EPI 2021: the published check, its two halves at kappa, a second implementation, and what makes it give nothing."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="session")
def egfr(served):
    """Return a function from age, sex and creatinine to the eGFR, None where it does not apply."""
    engine = served[1]

    def run(age, sex, creatinine):
        result = engine.run("ckdepi2021", {"age_years": age, "sex": sex, "creatinine_mg_dl": creatinine}, None)
        return result.values[0] if result.applicable[0] else None

    return run


def test_the_published_check(egfr):
    """Data sheet: woman of 65 years, creatinine 1.1 mg/dL."""
    assert egfr(65.0, 0.0, 1.1) == pytest.approx(55.76, abs=0.005)


@pytest.mark.parametrize(("sex", "kappa", "factor"), [(0.0, 0.7, 1.012), (1.0, 0.9, 1.0)], ids=["female", "male"])
def test_at_kappa_both_powers_are_one(egfr, sex, kappa, factor):
    """There only age and sex decide."""
    assert egfr(40.0, sex, kappa) == pytest.approx(142 * 0.9938**40 * factor, rel=1e-12)


@settings(max_examples=300, deadline=None)
@given(age=st.integers(18, 130), sex=st.sampled_from(["female", "male"]), creatinine=st.floats(0.1, 40))
def test_the_graph_equals_the_formula(egfr, age, sex, creatinine):
    """To 1e-9, written a second time from the paper."""
    kappa, alpha, factor = (0.7, -0.241, 1.012) if sex == "female" else (0.9, -0.302, 1.0)
    expected = 142 * min(creatinine / kappa, 1) ** alpha * max(creatinine / kappa, 1) ** -1.2 * 0.9938**age * factor
    assert egfr(float(age), 0.0 if sex == "female" else 1.0, creatinine) == pytest.approx(expected, abs=1e-9, rel=0)


@pytest.mark.parametrize(
    ("age", "sex", "creatinine"),
    [
        (math.nan, 0.0, 1.1),
        (65.0, math.nan, 1.1),
        (65.0, 0.0, math.nan),
        (17.0, 0.0, 1.1),
        (131.0, 0.0, 1.1),
        (65.0, 2.0, 1.1),
        (65.0, 0.5, 1.1),
        (65.0, -1.0, 1.1),
        (65.0, 0.0, 0.0),
        (65.0, 0.0, -1.0),
        (65.0, 0.0, 0.09),
        (65.0, 0.0, 40.1),
    ],
)
def test_an_absent_or_impossible_input_gives_nothing(egfr, age, sex, creatinine):
    """No default sex, no clamping."""
    assert egfr(age, sex, creatinine) is None
