"""NEWS2: the chart's boundaries, a second implementation, both SpO2 scales, rounding before scoring, what an absent input poisons."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.scores import SCORES

WELL = {
    "respiratory_rate_per_min": 16.0,
    "spo2_pct": 97.0,
    "supplemental_oxygen_0_1": 0.0,
    "temperature_cel": 37.0,
    "systolic_bp_mm_hg": 120.0,
    "heart_rate_per_min": 70.0,
    "consciousness_acvpu": 0.0,
}
LIMITS = {
    "respiratory_rate_per_min": (3, 80),
    "spo2_pct": (30, 100),
    "temperature_cel": (25, 45),
    "systolic_bp_mm_hg": (40, 300),
    "heart_rate_per_min": (15, 300),
}
PARTS = list(WELL)
NOT_COMPUTED_WITH = dict.fromkeys(("age_years", "hypercapnic_target_documented_0_1"), math.nan)

# input, last value of a row of the chart, its points, first value of the next row, its points (RCP 2017, chart 1)
BOUNDARIES = [
    ("respiratory_rate_per_min", 8, 3, 9, 1), ("respiratory_rate_per_min", 11, 1, 12, 0), ("respiratory_rate_per_min", 20, 0, 21, 2),
    ("respiratory_rate_per_min", 24, 2, 25, 3),
    ("spo2_pct", 91, 3, 92, 2), ("spo2_pct", 93, 2, 94, 1), ("spo2_pct", 95, 1, 96, 0),
    ("temperature_cel", 35.0, 3, 35.1, 1), ("temperature_cel", 36.0, 1, 36.1, 0), ("temperature_cel", 38.0, 0, 38.1, 1),
    ("temperature_cel", 39.0, 1, 39.1, 2),
    ("systolic_bp_mm_hg", 90, 3, 91, 2), ("systolic_bp_mm_hg", 100, 2, 101, 1), ("systolic_bp_mm_hg", 110, 1, 111, 0),
    ("systolic_bp_mm_hg", 219, 0, 220, 3),
    ("heart_rate_per_min", 40, 3, 41, 1), ("heart_rate_per_min", 50, 1, 51, 0), ("heart_rate_per_min", 90, 0, 91, 1),
    ("heart_rate_per_min", 110, 1, 111, 2), ("heart_rate_per_min", 130, 2, 131, 3),
]  # fmt: skip


@pytest.fixture(scope="session")
def news2(served):
    """Return a function from inputs to (total, single 3, the seven parts); NaN where nothing is given."""
    engine = served[1]

    def run(scale=1, **inputs):
        result = engine.run("news2", {**WELL, **NOT_COMPUTED_WITH, **inputs}, scale)
        assert [math.isnan(value) for value in result.values] == [not applies for applies in result.applicable]
        return result.values

    return run


@pytest.mark.parametrize(("name", "last", "points", "first", "next_points"), BOUNDARIES)
def test_every_boundary_of_the_chart(news2, name, last, points, first, next_points):
    """Both sides of every boundary; all else is normal, so the total is the part."""
    for value, expected in ((last, points), (first, next_points)):
        total, single, *parts = news2(**{name: value})
        assert (total, parts[PARTS.index(name)], single) == (expected, expected, float(expected == 3))


@pytest.mark.parametrize(
    ("value", "points"),
    [(38.04, 0), (38.05, 1), (38.0 + 1 / 18, 1), (35.04999, 3), (35.05, 1), (100.4 - 62.4, 0)],
)
def test_a_temperature_is_rounded_half_up_before_it_is_scored(news2, value, points):
    """To one decimal: 100.4 degF is 38.0 Cel, 100.5 degF (38.0556) is 38.1 and one point."""
    assert news2(temperature_cel=value)[0] == points


@pytest.mark.parametrize(
    ("saturation", "oxygen", "points"),
    [(83, 0, 3), (84, 0, 2), (86, 0, 1), (88, 0, 0), (92, 1, 0), (93, 0, 0), (100, 0, 0), (93, 1, 1), (94, 1, 1), (95, 1, 2), (97, 1, 3)],
)
def test_scale_2_counts_a_high_saturation_on_oxygen_only(news2, saturation, oxygen, points):
    """On air 93 % and more is 0: two of three public programs count it."""
    values = news2(2, spo2_pct=saturation, supplemental_oxygen_0_1=oxygen)
    assert values[2 + PARTS.index("spo2_pct")] == points


@settings(deadline=None)
@given(
    numbers=st.fixed_dictionaries({name: st.floats(low, high) for name, (low, high) in LIMITS.items()}),
    oxygen=st.sampled_from([0.0, 1.0]),
    consciousness=st.sampled_from([0.0, 1.0]),
    scale=st.sampled_from([1, 2]),
    absent=st.sets(st.sampled_from(PARTS), max_size=6),
)
def test_the_graph_and_the_score_in_plain_python_agree(news2, numbers, oxygen, consciousness, scale, absent):
    """Complete: both ends of the range are the graph's total. With inputs missing: no total, and the known parts are the lower end."""
    given_inputs = {**numbers, "supplemental_oxygen_0_1": oxygen, "consciousness_acvpu": consciousness}
    inputs = {name: math.nan if name in absent else value for name, value in given_inputs.items()}
    total, _, *parts = news2(scale, **inputs)
    low, high = SCORES["news2_lower_bound"].compute({**inputs, "spo2_scale": float(scale)}).score_range
    if not absent:
        assert (low, high) == (total, total)
        return
    assert math.isnan(total)
    assert low == sum(part for part in parts if not math.isnan(part))
    whole = news2(scale, **given_inputs)[0]
    assert low <= whole <= high


@pytest.mark.parametrize("name", WELL)
def test_an_absent_input_takes_the_total_and_its_own_part(news2, name):
    """The other parts stay; nothing is scored as 0."""
    total, single, *parts = news2(**{name: math.nan})
    assert math.isnan(total)
    assert math.isnan(single)
    assert [math.isnan(part) for part in parts] == [part == name for part in PARTS]
