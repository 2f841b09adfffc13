"""HOSPITAL: every boundary, a second implementation, and what an absent or impossible input takes away."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.scores import SCORES, ScoreRefused

NOTHING = {
    "hemoglobin_discharge_g_dl": 13.0,
    "oncology_service_or_active_cancer_0_1": 0.0,
    "sodium_discharge_mmol_l": 140.0,
    "procedure_0_1": 0.0,
    "urgent_admission_0_1": 0.0,
    "admissions_prev_12m": 0.0,
    "length_of_stay_days": 1.0,
}
INPUTS = st.fixed_dictionaries(
    {
        "hemoglobin_discharge_g_dl": st.floats(2, 26),
        "oncology_service_or_active_cancer_0_1": st.sampled_from([0.0, 1.0]),
        "sodium_discharge_mmol_l": st.floats(95, 200),
        "procedure_0_1": st.sampled_from([0.0, 1.0]),
        "urgent_admission_0_1": st.sampled_from([0.0, 1.0]),
        "admissions_prev_12m": st.integers(0, 20).map(float),
        "length_of_stay_days": st.floats(0, 60),
    }
)
RANGE = SCORES["hospital_lower_bound"]


@pytest.fixture(scope="session")
def hospital(served):
    """Return a function from inputs to the score, None where none applies."""
    engine = served[1]

    def run(**inputs):
        result = engine.run("hospital", {**NOTHING, "age_years": math.nan, **inputs}, None)
        return result.values[0] if result.applicable[0] else None

    return run


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        ("hemoglobin_discharge_g_dl", 12.0, 0), ("hemoglobin_discharge_g_dl", 11.99, 1),
        ("oncology_service_or_active_cancer_0_1", 1, 2),
        ("sodium_discharge_mmol_l", 135.0, 0), ("sodium_discharge_mmol_l", 134.9, 1), ("procedure_0_1", 1, 1),
        ("urgent_admission_0_1", 1, 1),
        ("admissions_prev_12m", 1, 0), ("admissions_prev_12m", 2, 2), ("admissions_prev_12m", 5, 2), ("admissions_prev_12m", 6, 5),
        ("length_of_stay_days", 4, 0), ("length_of_stay_days", 5, 2),
    ],
)  # fmt: skip
def test_every_boundary(hospital, name, value, points):
    """All else adds nothing."""
    assert hospital(**{name: value}) == points


@settings(deadline=None)
@given(inputs=INPUTS, absent=st.sets(st.sampled_from(list(NOTHING)), max_size=6))
def test_the_graph_and_the_range_agree(hospital, inputs, absent):
    """Complete: both ends are the graph's score. With inputs missing: no score, and the whole one lies within the range."""
    whole = hospital(**inputs)
    low, high = RANGE.compute({name: math.nan if name in absent else value for name, value in inputs.items()}).score_range
    assert low <= whole <= high
    if absent:
        assert hospital(**dict.fromkeys(absent, math.nan)) is None
    else:
        assert low == high


@pytest.mark.parametrize(
    ("name", "value"),
    [("admissions_prev_12m", 1.5), ("admissions_prev_12m", -1), ("procedure_0_1", 0.5), ("sodium_discharge_mmol_l", 94.9),
     ("length_of_stay_days", -1)],
)  # fmt: skip
def test_what_cannot_be_gives_nothing(hospital, name, value):
    """A fraction of a count, a negative length, an impossible value: neither a score nor a range."""
    assert hospital(**{name: value}) is None
    with pytest.raises(ScoreRefused, match=name):
        RANGE.compute({**NOTHING, name: value})


@pytest.mark.parametrize(
    ("days", "urgent", "charlson", "visits", "points"),
    [(0, 0, 0, 0, 0), (1, 0, 0, 0, 1), (3, 0, 0, 0, 3), (6, 0, 0, 0, 4), (7, 0, 0, 0, 5), (13, 1, 0, 0, 8), (14, 0, 3, 0, 10),
     (14, 1, 4, 4, 19), (14, 1, 40, 9, 19), (2, 0, 4, 0, 7)],
)  # fmt: skip
def test_lace_by_its_table(days, urgent, charlson, visits, points):
    """Van Walraven 2010, table 3: a Charlson index of four and more is five points; the most is 19."""
    stated = {"length_of_stay_days": days, "urgent_admission_0_1": urgent, "charlson_index": charlson, "ed_visits_prev_6m": visits}
    assert SCORES["lace"].compute(stated).value == points
