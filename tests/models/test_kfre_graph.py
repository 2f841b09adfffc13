"""KFRE: the published checks, a second implementation, every boundary, and what makes it give nothing."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.terminology import load_terminology

FOUR = ("age_years", "sex", "egfr_ml_min_1_73m2", "uacr_mg_g")
EXTRA = ("albumin_g_dl", "phosphate_mg_dl", "bicarbonate_mmol_l", "calcium_mg_dl")
ABSENT = dict.fromkeys(EXTRA, math.nan)
MAN = {"age_years": 55.0, "sex": 1.0, "egfr_ml_min_1_73m2": 45.0, "uacr_mg_g": 120.0, "region": 1.0}
LABS = {"albumin_g_dl": 3.4, "phosphate_mg_dl": 4.6, "bicarbonate_mmol_l": 22.0, "calcium_mg_dl": 9.8}
MG_G_PER_MG_MMOL = 8.8402


@pytest.fixture(scope="session")
def kfre(served):
    """Return a function from inputs and the number of variables to (2-year, 5-year risk), None where it does not apply."""
    engine = served[1]

    def run(variables, **inputs):
        result = engine.run("kfre", {**ABSENT, **inputs}, {4: 0, 8: 1}[variables])
        assert result.applicable[0] == result.applicable[1]
        return result.values if result.applicable[0] else None

    return run


def by_hand(inputs, variables):
    """The formula of the paper once more, term by term, in Python's own arithmetic."""
    age, male, egfr, uacr = inputs["age_years"], inputs["sex"], inputs["egfr_ml_min_1_73m2"], inputs["uacr_mg_g"]
    if variables == 4:
        x = -0.2201 * (age / 10 - 7.036) + 0.2467 * (male - 0.5642) - 0.5567 * (egfr / 5 - 7.222) + 0.4510 * (math.log(uacr) - 5.137)
        survivals = (0.9750, 0.9240) if inputs["region"] else (0.9832, 0.9365)
    else:
        x = -0.1992 * (age / 10 - 7.036) + 0.1602 * (male - 0.5642) - 0.4919 * (egfr / 5 - 7.222) + 0.3364 * (math.log(uacr) - 5.137)
        x -= 0.3441 * (inputs["albumin_g_dl"] - 3.997)
        x += 0.2604 * (inputs["phosphate_mg_dl"] - 3.916)
        x -= 0.07354 * (inputs["bicarbonate_mmol_l"] - 25.57) + 0.2228 * (inputs["calcium_mg_dl"] - 9.355)
        survivals = (0.9780, 0.9301) if inputs["region"] else (0.9827, 0.9245)
    return tuple(1 - survival ** math.exp(x) for survival in survivals)


def test_the_published_checks(kfre):
    """Data sheet: a man of 55 in North America, and the woman of the reference implementation's own example."""
    assert kfre(4, **MAN)[0] == pytest.approx(0.0124707, abs=5e-8)
    woman = {"age_years": 57.28, "sex": 0.0, "egfr_ml_min_1_73m2": 15.0, "uacr_mg_g": 1762.00184, "region": 0.0}
    assert kfre(4, **woman) == pytest.approx((0.446617, 0.898856), abs=5e-7)


PATIENTS = st.fixed_dictionaries(
    {
        "age_years": st.floats(18, 130),
        "sex": st.sampled_from([0.0, 1.0]),
        "egfr_ml_min_1_73m2": st.floats(0.5, 60, exclude_max=True),
        "uacr_mg_g": st.floats(0.01, 25000),
        "region": st.sampled_from([0.0, 1.0]),
        "albumin_g_dl": st.floats(0.5, 8),
        "phosphate_mg_dl": st.floats(0.3, 20),
        "bicarbonate_mmol_l": st.floats(3, 60),
        "calcium_mg_dl": st.floats(3, 20),
    }
)


@settings(max_examples=300, deadline=None)
@given(inputs=PATIENTS, variables=st.sampled_from([4, 8]))
def test_the_graph_equals_the_formula(kfre, inputs, variables):
    """To 1e-12, and the risk over 5 years is never below that over 2."""
    found = kfre(variables, **inputs)
    assert found == pytest.approx(by_hand(inputs, variables), abs=1e-12, rel=0)
    assert 0 <= found[0] <= found[1] <= 1


@settings(max_examples=50, deadline=None)
@given(inputs=PATIENTS)
def test_the_four_variable_form_does_not_look_at_the_other_four(kfre, inputs):
    """Whatever stands in them, absent and impossible included."""
    alone = kfre(4, **{name: inputs[name] for name in (*FOUR, "region")})
    assert kfre(4, **inputs) == alone
    assert kfre(4, **{**inputs, "calcium_mg_dl": -1.0}) == alone


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("age_years", (18.0, 130.0), (17.999, 130.001)),
        ("sex", (0.0, 1.0), (0.5, 2.0, -1.0)),
        ("egfr_ml_min_1_73m2", (0.5, 59.999999, math.nextafter(60, 0)), (60.0, 60.000001, 0.0, -5.0)),
        ("uacr_mg_g", (0.01, 25000.0), (0.0, -1.0, 25000.001)),
        ("region", (0.0, 1.0), (2.0, 0.5, -1.0)),
    ],
)
def test_every_boundary_of_the_data_sheet(kfre, name, inside, outside):
    """The ends that belong to it give a number in both forms; what lies beyond gives none in either, nor does an absent one."""
    for variables in (4, 8):
        for value in inside:
            assert kfre(variables, **{**MAN, **LABS, name: value}) is not None
        for value in (*outside, math.nan):
            assert kfre(variables, **{**MAN, **LABS, name: value}) is None


@pytest.mark.parametrize("name", EXTRA)
def test_the_eight_variable_form_needs_all_eight(kfre, name):
    """One absent or impossible, and there is no number of eight; that of four does not change."""
    for value in (math.nan, -1.0, 1000.0):
        assert kfre(8, **{**MAN, **LABS, name: value}) is None
        assert kfre(4, **{**MAN, **LABS, name: value}) == kfre(4, **MAN)


def test_a_ratio_in_mg_per_mmol_must_be_converted_first(kfre):
    """1 mg/mmol = 8.8402 mg/g: unconverted the risk is about 2.7 times too low; the terminology converts, so the graph gets mg/g."""
    uacr_mg_mmol = 24.9
    converted = load_terminology().convert("uacr", uacr_mg_mmol, "mg/mmol", coded=True)
    assert converted.value == pytest.approx(uacr_mg_mmol * MG_G_PER_MG_MMOL, rel=1e-5)
    right, wrong = (kfre(4, **{**MAN, "uacr_mg_g": value})[1] for value in (converted.value, uacr_mg_mmol))
    assert right / wrong == pytest.approx(math.exp(0.4510 * math.log(MG_G_PER_MG_MMOL)), rel=0.05)
    assert 2.5 < right / wrong < 2.8
