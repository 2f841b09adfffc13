"""The laboratory's own limit: of the newest usable value, in the concept's unit, never a default."""

from typing import TYPE_CHECKING

import pytest

from gateway.features.context import Chart, RecordIndex, Target
from gateway.features.manifest import ReferenceLimit
from gateway.features.reference import reference_limit
from gateway.fhir.group import Group, GroupState

if TYPE_CHECKING:
    from conftest import Charts

UNIT = {"unit": "U/L"}
# (value, days ago, what is special) of each AST; the limit; state; code
CASES = {
    "the limit of the only one": ([(48.0, 10, {"reference_high": 40.0})], 40.0, "valid", ""),
    "of the newest": ([(48.0, 10, {"reference_high": 40.0}), (30.0, 20, {"reference_high": 35.0})], 40.0, "valid", ""),
    "never of an older one": ([(48.0, 10, {}), (30.0, 20, {"reference_high": 35.0})], None, "missing", "MISSING_INPUT:limit"),
    "not of a preliminary one": (
        [(48.0, 5, {"reference_high": 50.0, "status": "preliminary"}), (30.0, 20, {"reference_high": 35.0})], 35.0, "valid", ""),
    "in another unit": ([(0.8, 10, {"reference_high": 0.6, "unit": "ukat/L"})], 36.0, "valid", ""),
    "only a lower limit": ([(48.0, 10, {"reference_low": 10.0})], None, "missing", "MISSING_INPUT:limit"),
    "an impossible limit": ([(48.0, 10, {"reference_high": 0.0})], None, "implausible", "IMPLAUSIBLE_VALUE:limit"),
    "two values of one instant": (
        [(48.0, 10, {"reference_high": 40.0}), (90.0, 10, {"reference_high": 50.0})], None, "inconsistent", "INCONSISTENT:limit"),
    "nothing": ([], None, "missing", "MISSING_INPUT:limit"),
}  # fmt: skip


def limit_of(charts: "Charts", record, end: str = "high"):
    chart = Chart(RecordIndex(record, charts.terminology, charts.as_of), "ambulatory")
    return reference_limit(Target("limit", "ast", "U/L"), ReferenceLimit(concept="ast", end=end), chart)


@pytest.mark.parametrize("name", CASES)
def test_the_limit_stands_with_the_value_that_is_used(charts: "Charts", name: str) -> None:
    """Value, state and code; the evidence is the Observation whose limit it is."""
    entries, limit, state, code = CASES[name]
    found = limit_of(charts, charts.record(*(charts.lab("ast", value, days, **{**UNIT, **said}) for value, days, said in entries)))
    assert (found.value, found.state, "|".join(map(str, found.reasons))) == (limit, state, code)
    assert bool(found.evidence) is bool(entries)


def test_the_lower_limit_may_be_asked_for(charts: "Charts") -> None:
    """By its end; the same rules."""
    record = charts.record(charts.lab("ast", 48.0, **UNIT, reference_low=10.0, reference_high=40.0))
    assert limit_of(charts, record, "low").value == 10.0


def test_a_limit_that_may_not_be_seen_is_not_missing(charts: "Charts") -> None:
    """A part that did not arrive, or may not be read, keeps its own state."""
    for state, expected in ((GroupState.INCOMPLETE, "not-fetched"), (GroupState.NOT_ALLOWED, "not-allowed")):
        record = charts.record(charts.lab("ast", 48.0, **UNIT, reference_high=40.0), groups={Group.LABORATORY: state})
        assert limit_of(charts, record).state == expected
