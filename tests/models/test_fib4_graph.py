"""FIB-4: the published check, a second computation, every boundary, and what makes it give nothing."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PATIENT = {"age_years": 60.0, "ast_u_l": 50.0, "alt_u_l": 40.0, "platelets_10e9_l": 150.0}
LIMITS = {"age_years": (18.0, 130.0), "ast_u_l": (1.0, 20000.0), "alt_u_l": (1.0, 20000.0), "platelets_10e9_l": (1.0, 3000.0)}


@pytest.fixture(scope="session")
def fib4(served):
    """Return a function from inputs to (index, too young, acute injury, from 65), None where nothing applies."""
    engine = served[1]

    def run(**inputs):
        result = engine.run("fib4", {**PATIENT, **inputs}, None)
        assert len(set(result.applicable)) == 1
        return result.values if result.applicable[0] else None

    return run


def test_the_published_check(fib4):
    """Data sheet: 60 years, AST 50, ALT 40, platelets 150."""
    assert fib4()[0] == pytest.approx(3.162, abs=5e-4)


@settings(deadline=None)
@given(inputs=st.fixed_dictionaries({name: st.floats(low, high) for name, (low, high) in LIMITS.items()}))
def test_the_graph_equals_the_formula(fib4, inputs):
    """By logarithms, another way than the graph's."""
    index, *flags = fib4(**inputs)
    logarithm = math.log(inputs["age_years"]) + math.log(inputs["ast_u_l"]) - math.log(inputs["platelets_10e9_l"])
    assert index == pytest.approx(math.exp(logarithm - math.log(inputs["alt_u_l"]) / 2), rel=1e-12)
    assert flags == [inputs["age_years"] < 35, max(inputs["ast_u_l"], inputs["alt_u_l"]) > 200, inputs["age_years"] >= 65]


@pytest.mark.parametrize("name", LIMITS)
def test_outside_its_limits_nothing_is_given(fib4, name):
    """Both ends are inside; beyond them, absent or infinite there is neither a number nor a flag."""
    low, high = LIMITS[name]
    assert fib4(**{name: low}) is not None
    assert fib4(**{name: high}) is not None
    for value in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf), math.nan):
        assert fib4(**{name: value}) is None
