"""CHA2DS2-VASc: a second computation over all items, every age boundary, and what makes it give nothing."""

import itertools
import math

import pytest

ITEMS = ("chf_0_1", "hypertension_0_1", "diabetes_0_1", "stroke_tia_te_0_1", "vascular_disease_0_1")
PATIENT = {"age_years": 60.0, "sex": 1.0, **dict.fromkeys(ITEMS, 0.0)}
AGES = {18: 0, 64: 0, 65: 1, 74: 1, 75: 2, 130: 2}  # years -> points


@pytest.fixture(scope="session")
def points(served):
    """Return a function from inputs to the points, None where the score does not apply."""
    engine = served[1]

    def run(**inputs):
        result = engine.run("cha2ds2vasc", {**PATIENT, **inputs}, None)
        return result.values[0] if result.applicable[0] else None

    return run


@pytest.mark.parametrize("sex", [0.0, 1.0])
@pytest.mark.parametrize("age", AGES)
def test_every_combination_of_items(points, age, sex):
    """One point each, two for stroke; one for a woman; by age as the paper counts."""
    for given in itertools.product((0.0, 1.0), repeat=len(ITEMS)):
        items = dict(zip(ITEMS, given, strict=True))
        expected = sum(given) + items["stroke_tia_te_0_1"] + AGES[age] + (sex == 0)
        assert points(age_years=float(age), sex=sex, **items) == expected


@pytest.mark.parametrize("name", PATIENT)
def test_an_input_that_is_absent_or_impossible_gives_no_points(points, name):
    """No item counts as "no" because it is unknown."""
    for value in (math.nan, 0.5, -1.0, 2.0, 17.0, 131.0):
        if name != "age_years" or not 18 <= value <= 130:
            assert points(**{name: value}) is None
