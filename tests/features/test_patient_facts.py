"""Age and sex, as tables."""

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from gateway.features.patient import completed_years
from gateway.features.value import InputState

if TYPE_CHECKING:
    from conftest import Charts

# The as-of time is 15 June 2026.
BIRTHS = {
    "1970-06-15": (56, None),  # birthday today
    "1970-06-16": (55, None),  # birthday tomorrow
    "1970-06-14": (56, None),
    "1970": (None, (55, 56)),
    "1970-05": (56, None),
    "1970-06": (None, (55, 56)),
    "1970-07": (55, None),
}


@pytest.mark.parametrize("birth", BIRTHS)
def test_age_is_completed_years_or_an_interval(birth: str, charts: "Charts") -> None:
    """A birth date known to year or month is an interval, unless both ends are the same age."""
    value, interval = BIRTHS[birth]
    found = charts.extract("prevent", charts.record(patient=charts.patient(birth_date=charts.date(birth))))["age"]
    assert (found.value, found.interval) == (value, interval)
    assert found.usable is (value is not None)


@pytest.mark.parametrize(
    ("birth", "today", "age"),
    [("2000-02-29", "2025-02-28", 24), ("2000-02-29", "2025-03-01", 25), ("2000-02-29", "2024-02-29", 24), ("2000-12-31", "2001-01-01", 0)],
)
def test_a_leap_day_child_completes_a_year_on_the_first_of_march(birth: str, today: str, age: int) -> None:
    """Completed years, not days divided by 365.25."""
    assert completed_years(dt.date.fromisoformat(birth), dt.date.fromisoformat(today)) == age


def test_someone_born_after_the_as_of_time_is_implausible(charts: "Charts") -> None:
    """A birth date in the future is a data error, not an age."""
    found = charts.extract("prevent", charts.record(patient=charts.patient(birth_date=charts.date("2027-01-01"))))["age"]
    assert (found.state, str(found.reasons[0])) == (InputState.IMPLAUSIBLE, "IMPLAUSIBLE_VALUE:age")


def test_without_a_birth_date_age_is_missing(charts: "Charts") -> None:
    """No default age."""
    found = charts.extract("prevent", charts.record(patient=charts.patient(birth_date=None)))["age"]
    assert str(found.reasons[0]) == "MISSING_INPUT:age"


SEXES = [
    # gender, recorded sexes, sex parameter for clinical use -> number or code
    ("female", (), None, 0.0),
    ("male", (), None, 1.0),
    ("female", ("female",), None, 0.0),
    (None, ("male",), None, 1.0),
    ("unknown", ("male",), None, 1.0),
    ("female", ("male",), None, "INCONSISTENT:sex"),
    ("other", ("male",), None, "INCONSISTENT:sex"),
    ("female", ("female", "male"), None, "INCONSISTENT:sex"),
    ("female", ("male",), "male-typical", 1.0),
    (None, (), "female-typical", 0.0),
    ("female", ("female",), "specified", "SEX_UNSUPPORTED"),
    ("female", (), "unknown", "SEX_UNSUPPORTED"),
    ("other", (), None, "SEX_UNSUPPORTED"),
    ("unknown", (), None, "SEX_UNSUPPORTED"),
    (None, (), None, "MISSING_INPUT:sex"),
]


@pytest.mark.parametrize(("gender", "recorded", "parameter", "expected"), SEXES)
def test_sex_is_never_a_default(
    gender: str | None, recorded: tuple[str, ...], parameter: str | None, expected: float | str, charts: "Charts"
) -> None:
    """The parameter for clinical use decides; else what is recorded, where it agrees; else there is no sex to compute with."""
    patient = charts.patient(gender=gender, recorded_sexes=recorded, sex_parameter=parameter)
    found = charts.extract("prevent", charts.record(patient=patient))["sex"]
    assert (found.tensor_value if found.usable else str(found.reasons[0])) == expected
