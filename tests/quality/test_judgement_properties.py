"""What holds for every record: order never matters, less data never gives more answers, no reason without effect."""

import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.quality.report import QualityReport, Verdict
from gateway.quality.stated import report_for_stated
from gateway.record.reason import NOT_APPLICABLE_CODES

if TYPE_CHECKING:
    from features.conftest import Charts  # the language of these records

SHARED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STATUSES = ("final", "corrected", "preliminary", "entered-in-error")
CONCEPTS = ("total_cholesterol", "hdl_cholesterol", "sbp", "weight", "height", "bmi", "creatinine", "hba1c", "egfr_other")
NUMBERS = {
    "age_years": st.integers(0, 110),
    "total_cholesterol_mg_dl": st.floats(1, 1200),
    "hdl_cholesterol_mg_dl": st.floats(1, 250),
    "sbp_mm_hg": st.floats(30, 350),
    "bmi_kg_m2": st.floats(5, 120),
    "egfr_ml_min_1_73m2": st.floats(0.5, 250),
    "diabetes_0_1": st.sampled_from([0, 1]),
    "smoker_0_1": st.sampled_from([0, 1]),
    "bp_treatment_0_1": st.sampled_from([0, 1]),
    "statin_0_1": st.sampled_from([0, 1]),
    "hba1c_pct": st.floats(1, 25),
    "uacr_mg_g": st.floats(0.001, 40000),
    "sex": st.sampled_from(["female", "male", "other", "unknown"]),
    "labs_age_days": st.integers(0, 3000),
    "vitals_age_days": st.integers(0, 800),
    "prior_cvd_0_1": st.sampled_from([0, 0, 0, 1]),
    "care_setting": st.sampled_from(["ambulatory", "ed"]),
}
GOOD = {
    "age_years": 55,
    "sex": "female",
    "total_cholesterol_mg_dl": 210,
    "hdl_cholesterol_mg_dl": 52,
    "sbp_mm_hg": 132,
    "bmi_kg_m2": 28.4,
    "egfr_ml_min_1_73m2": 84,
    "diabetes_0_1": 0,
    "smoker_0_1": 0,
    "bp_treatment_0_1": 1,
    "statin_0_1": 0,
}


def stated_rows() -> st.SearchStrategy[dict[str, object]]:
    """A good row in which some inputs are anything, and some are absent."""
    changes = st.fixed_dictionaries({}, optional=NUMBERS)
    absent = st.sets(st.sampled_from(sorted(GOOD)), max_size=3)
    return st.builds(lambda changed, gone: {**GOOD, **changed, **dict.fromkeys(gone)}, changes, absent)


def _entry(charts: "Charts", draw: random.Random) -> object:
    days, unit = draw.choice((1, 1, 5, 30, 400)), {}
    match draw.randrange(8):
        case 0:
            return charts.smoking(draw.choice(("449868002", "266919005", "266927001", "1")), days, status=draw.choice(STATUSES))
        case 1:
            return charts.order(draw.choice(("statin", "antihypertensive", "")), days, recognised=draw.random() < 0.8)
        case 2:
            return charts.problem(draw.choice(("diabetes", "prior_cvd", "diabetes_NOT", "")), days, active=draw.random() < 0.5)
        case 3:
            return charts.stay(days, draw.choice((2, 60)), draw.choice(("ed", "ambulatory", "inpatient", None)))
    concept = draw.choice(CONCEPTS)
    issued = charts.ago(days - draw.random()) if draw.random() < 0.5 else None
    return charts.lab(concept, draw.choice((1.0, 28.0, 52.0, 132.0, 210.0)), days, status=draw.choice(STATUSES), issued=issued, **unit)


@SHARED
@given(seed=st.integers(0, 2**32), shuffles=st.integers(0, 2**32))
def test_the_order_of_a_record_never_changes_the_report(seed: int, shuffles: int, charts: "Charts") -> None:
    """Conflicts, ties and lists are decided by what the entries say, not by where they stand."""
    draw = random.Random(seed)
    entries = [*(charts.complete() if draw.random() < 0.7 else []), *(_entry(charts, draw) for _ in range(draw.randrange(25)))]
    mixed = entries[:]
    random.Random(shuffles).shuffle(mixed)
    assert charts.report("prevent", charts.record(*mixed)) == charts.report("prevent", charts.record(*entries))


@SHARED
@given(row=stated_rows())
def test_taking_a_required_input_away_never_gives_more(row: dict[str, object], charts: "Charts") -> None:
    """Neither leaving it out nor stating NaN makes an output available that was not."""
    manifest = charts.manifests["prevent"]
    before = set(report_for_stated(manifest, row, charts.terminology).available)
    for spec in manifest.inputs:
        if spec.optional:
            continue
        for nothing in (None, float("nan")):
            after = set(report_for_stated(manifest, {**row, spec.tensor: nothing}, charts.terminology).available)
            assert after <= before
            assert not after & {output.name for output in manifest.outputs if spec.name in output.needs}


@SHARED
@given(row=stated_rows())
def test_no_reason_is_without_effect_and_no_effect_without_reason(row: dict[str, object], charts: "Charts") -> None:
    """Each code withholds an output, takes an optional input out, or is said beside an answer; each withheld output says why."""
    manifest = charts.manifests["prevent"]
    report = report_for_stated(manifest, row, charts.terminology)
    withholding = {str(reason) for group in report.withheld.values() for reason in group}
    dropped = [report.inputs[spec.name] for spec in manifest.inputs if spec.optional and not report.inputs[spec.name].usable]
    optional = {str(reason) for value in dropped for reason in value.reasons}
    for reason in report.reasons:
        assert report.available if not reason.withholds else str(reason) in withholding | optional
    assert withholding <= {str(reason) for reason in report.reasons}
    assert all(report.withheld.values())
    assert set(report.available).isdisjoint(report.withheld)
    assert len({(reason.code, reason.subject) for reason in report.reasons}) == len(report.reasons)
    _assert_verdict(report)


def _assert_verdict(report: QualityReport) -> None:
    """The verdict follows from the reasons by rules 1."""
    if report.available:
        assert report.verdict is (Verdict.SCORED_DEGRADED if report.reasons or report.withheld else Verdict.SCORED)
        return
    codes = {reason.code for group in report.withheld.values() for reason in group}
    assert report.verdict is (Verdict.NOT_APPLICABLE if codes & NOT_APPLICABLE_CODES else Verdict.INDETERMINATE)


@SHARED
@given(row=stated_rows())
def test_what_the_graph_gets_agrees_with_what_is_available(row: dict[str, object], charts: "Charts") -> None:
    """Every input of an available output is a number; every input that is not usable poisons the graph with NaN."""
    manifest = charts.manifests["prevent"]
    report = report_for_stated(manifest, row, charts.terminology)
    for output in manifest.outputs:
        if output.name in report.available:
            assert all(math.isfinite(report.inputs[name].tensor_value) for name in output.needs)
    for value in report.inputs.values():
        assert value.usable or value.tensor_value != value.tensor_value


@pytest.mark.parametrize("model", ["prevent", "ckdepi2021"])
def test_nothing_stated_gives_nothing(model: str, charts: "Charts") -> None:
    """An empty row is withheld altogether, with a reason for each required input."""
    manifest = charts.manifests[model]
    report = report_for_stated(manifest, {}, charts.terminology)
    assert (report.available, report.fallbacks, report.verdict) == ((), (), Verdict.INDETERMINATE)
    assert {str(reason) for reason in report.reasons} == {f"MISSING_INPUT:{spec.name}" for spec in manifest.inputs if not spec.optional}
