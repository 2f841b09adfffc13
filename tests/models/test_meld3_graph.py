"""MELD 3.0: the paper's examples, a second computation, bounds, minors, dialysis, and what makes it give nothing."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

MAN = {
    "age_years": 54.0,
    "sex": 1.0,
    "bilirubin_mg_dl": 2.5,
    "sodium_mmol_l": 131.0,
    "inr": 1.0,
    "creatinine_mg_dl": 1.2,
    "albumin_g_dl": 3.8,
}
MAN |= {"dialysis_2x_7d_0_1": 0.0}
PLAUSIBLE = {
    "age_years": (12, 130),
    "bilirubin_mg_dl": (0.05, 80),
    "sodium_mmol_l": (95, 200),
    "inr": (0.5, 20),
    "creatinine_mg_dl": (0.1, 40),
    "albumin_g_dl": (0.5, 8),
}
PATIENTS = st.fixed_dictionaries(
    {name: st.floats(*limits) for name, limits in PLAUSIBLE.items()}
    | {"sex": st.sampled_from([0.0, 1.0]), "dialysis_2x_7d_0_1": st.sampled_from([0.0, 1.0])}
)


@pytest.fixture(scope="session")
def meld3(served):
    """Return a function from inputs to (score, raw, survival, death), None for each that does not apply."""
    engine = served[1]

    def run(**inputs):
        result = engine.run("meld3", {**MAN, **inputs}, None)
        return tuple(value if applies else None for value, applies in zip(result.values, result.applicable, strict=True))

    return run


def by_hand(x):
    """The formula of the paper once more, as a sum of what each test adds beyond its bound."""
    adult = x["age_years"] >= 18
    bilirubin, inr = math.log(max(1, x["bilirubin_mg_dl"])), math.log(max(1, x["inr"]))
    creatinine = math.log(3 if x["dialysis_2x_7d_0_1"] else sorted((1, x["creatinine_mg_dl"], 3))[1])
    sodium, albumin = 137 - sorted((125, x["sodium_mmol_l"], 137))[1], 3.5 - sorted((1.5, x["albumin_g_dl"], 3.5))[1]
    female = 1.33 if x["sex"] == 0 or not adult else 0
    raw = (
        6
        + female
        + (4.56 - 0.24 * sodium) * bilirubin
        + 0.82 * sodium
        + 9.09 * inr
        + (11.14 - 1.83 * albumin) * creatinine
        + 1.85 * albumin
    )
    survival = 0.946 ** math.exp(0.17698 * raw - 3.56) if adult and 6 <= raw <= 40 else None
    return raw, survival


@pytest.mark.parametrize(
    ("inputs", "score"),
    [
        ({}, 16),
        ({"sex": 0.0}, 17),
        ({"bilirubin_mg_dl": 6.0, "inr": 1.5, "creatinine_mg_dl": 1.5, "albumin_g_dl": 2.2}, 26),
        ({"sex": 0.0, "bilirubin_mg_dl": 12.0, "sodium_mmol_l": 128.0, "inr": 2.2, "creatinine_mg_dl": 2.8, "albumin_g_dl": 2.0}, 39),
    ],
)
def test_the_published_examples(meld3, inputs, score):
    """Kim 2021, table 4."""
    assert meld3(**inputs)[0] == score


@settings(deadline=None, max_examples=300)
@given(inputs=PATIENTS)
def test_the_graph_equals_the_formula(meld3, inputs):
    """Score, unrounded sum, survival and death; a sum that lies within rounding error of a half may be rounded either way."""
    score, raw, survival, death = meld3(**inputs)
    expected_raw, expected_survival = by_hand(inputs)
    near = {min(max(math.floor(expected_raw + shift + 0.5), 6), 40) for shift in (-1e-9, 0, 1e-9)}
    assert score in near
    if inputs["age_years"] < 18:
        assert (raw, survival, death) == (None, None, None)
        return
    assert raw == pytest.approx(expected_raw, abs=1e-9)
    if min(abs(expected_raw - 6), abs(expected_raw - 40)) > 1e-9:
        assert (survival is None) == (death is None) == (expected_survival is None)
    if survival is not None and expected_survival is not None:
        assert survival == pytest.approx(expected_survival, abs=1e-9)
        assert death == 1 - survival


def test_minors_get_the_term_for_women_and_no_survival(meld3):
    """From 12 to 17 years a boy has the score of a girl."""
    assert meld3(age_years=17.0)[0] == meld3(age_years=17.0, sex=0.0)[0] == meld3(sex=0.0)[0]
    assert meld3(age_years=17.0)[1:] == (None, None, None)


def test_dialysis_counts_as_the_highest_creatinine(meld3):
    """Whatever creatinine was measured under dialysis."""
    assert meld3(dialysis_2x_7d_0_1=1.0, creatinine_mg_dl=0.4) == meld3(creatinine_mg_dl=3.0) == meld3(creatinine_mg_dl=9.0)


@pytest.mark.parametrize("name", MAN)
def test_nothing_is_imputed(meld3, name):
    """An input that is absent or impossible takes everything away."""
    low, high = PLAUSIBLE.get(name, (0, 1))
    for value in (math.nan, math.nextafter(low, -math.inf), math.nextafter(high, math.inf)):
        assert meld3(**{name: value}) == (None, None, None, None)
