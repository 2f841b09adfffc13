"""eGFR: computed from creatinine first, a reported one only where creatinine is lacking, none where the patient forbids it (rules 4)."""

from typing import TYPE_CHECKING

import pytest

from gateway.features.value import InputState

if TYPE_CHECKING:
    from conftest import Charts

CHAINS = {
    # creatinine (mg/dL, days), reported by CKD-EPI 2021 (days), by another equation (days), disease, sex
    #   -> value PREVENT uses, state, codes, fallback of PREVENT
    "creatinine": ((0.8, 10), None, None, None, 88.0, "valid", "", ""),
    "creatinine beside a reported one": ((0.8, 10), 5, 5, None, 88.0, "valid", "", ""),
    "no creatinine, reported": (None, 10, None, None, 61.0, "valid", "", ""),
    "old creatinine, reported": ((0.8, 400), 10, None, None, 61.0, "valid", "", ""),
    "no creatinine, other equation": (None, None, 10, None, 52.0, "valid", "CAUTION:egfr_other_equation", ""),
    "impossible creatinine, reported": ((80.0, 10), 5, None, None, 61.0, "valid", "", ""),
    "impossible creatinine, reported before": ((80.0, 10), 20, None, None, 61.0, "valid", "CAUTION:newer_unusable:egfr", ""),
    "nothing": (None, None, None, None, None, "missing", "MISSING_INPUT:egfr", "framingham_bmi"),
    "old creatinine": ((0.8, 400), None, None, None, None, "stale", "STALE_INPUT:egfr", ""),
    "impossible creatinine": ((80.0, 10), None, None, None, None, "implausible", "IMPLAUSIBLE_VALUE:egfr", ""),
    "dialysis": ((0.8, 10), None, None, "kidney_replacement", None, "withheld", "KIDNEY_REPLACEMENT", ""),
    "dialysis, no creatinine, reported": (
        None,
        10,
        None,
        "kidney_replacement",
        None,
        "withheld",
        "KIDNEY_REPLACEMENT",
        "",
    ),
    "kidney injury": ((0.8, 10), 10, 10, "aki", None, "withheld", "UNSTABLE_CREATININE", ""),
}


@pytest.mark.parametrize("case", CHAINS)
def test_the_way_to_an_egfr_is_that_of_the_data_sheet(case: str, charts: "Charts") -> None:
    """A number withheld for the patient's sake is not replaced by a reported one, and opens no fallback; one that is lacking does."""
    creatinine, reported, other, disease, value, state, codes, fallback = CHAINS[case]
    entries = [entry for entry in charts.complete() if getattr(entry, "concepts", ()) != ("creatinine",)]
    if creatinine is not None:
        entries.append(charts.lab("creatinine", *creatinine))
    if reported is not None:
        entries.append(charts.lab("egfr_ckdepi2021", 61.0, reported))
    if other is not None:
        entries.append(charts.lab("egfr_other", 52.0, other))
    if disease is not None:
        entries.append(charts.problem(disease, 20))
    report = charts.report("prevent", charts.record(*entries))
    egfr = report.inputs["egfr"]
    assert (egfr.value, egfr.state) == (value, state)
    assert {str(reason) for reason in egfr.reasons} == {str(reason) for reason in report.reasons} == set(codes.split())
    assert report.fallbacks == tuple(fallback.split())


@pytest.mark.parametrize("disease", ["kidney_replacement", "aki"])
def test_lipids_missing_beside_a_forbidden_egfr_open_no_fallback(disease: str, charts: "Charts") -> None:
    """On dialysis or in kidney injury no other score steps in either, whatever else is missing."""
    lipids = {("total_cholesterol",), ("hdl_cholesterol",)}
    entries = [entry for entry in charts.complete() if getattr(entry, "concepts", ()) not in lipids]
    report = charts.report("prevent", charts.record(*entries, charts.problem(disease, 20)))
    assert report.available == ()
    assert report.fallbacks == ()


def test_lineage_evidence_and_time_come_along(charts: "Charts") -> None:
    """Whoever sees PREVENT's eGFR can find the creatinine it was computed from."""
    egfr = charts.report("prevent", charts.record(*charts.complete())).inputs["egfr"]
    assert egfr.lineage == {"model": "ckdepi2021"}
    assert [(proof.raw_value, proof.raw_unit) for proof in egfr.evidence] == [(0.8, "mg/dL")]
    assert egfr.time == charts.ago(10).at


def test_a_caution_about_creatinine_is_a_caution_about_its_egfr(charts: "Charts") -> None:
    """A newer preliminary creatinine makes PREVENT's answer degraded as well."""
    newer = charts.lab("creatinine", 3.0, 1, status="preliminary")
    report = charts.report("prevent", charts.record(*charts.complete(), newer))
    assert [str(reason) for reason in report.reasons] == ["CAUTION:newer_unusable:creatinine"]
    assert report.verdict == "scored-degraded"


def test_an_equation_that_could_not_be_run_opens_the_fallback(charts: "Charts") -> None:
    """When the runtime is down there is still a published score; it is no matter of the patient's data."""
    report = charts.report("prevent", charts.record(*charts.complete()), egfr=None)
    assert {str(reason) for reason in report.inputs["egfr"].reasons} == {"RUNTIME_FAILURE:egfr"}
    assert report.verdict == "indeterminate"
    assert report.fallbacks == ("framingham_bmi",)


def test_a_reported_egfr_stands_in_for_an_equation_that_could_not_be_run(charts: "Charts") -> None:
    """The laboratory's own number needs no runtime."""
    record = charts.record(*charts.complete(), charts.lab("egfr_ckdepi2021", 61.0))
    report = charts.report("prevent", record, egfr=None)
    assert (report.inputs["egfr"].value, report.verdict) == (61.0, "scored")


def test_the_fallback_of_the_equation_names_another_equation(charts: "Charts") -> None:
    """A 2009 or MDRD result may be reported, with the caution that it is another equation."""
    record = charts.record(charts.lab("egfr_other", 52.0), charts.stay())
    report = charts.report("ckdepi2021", record)
    assert report.fallbacks == ("lab_reported_egfr",)
    assert [str(reason) for reason in report.inputs["lab_egfr"].reasons] == ["CAUTION:egfr_other_equation"]
    assert [str(reason) for reason in report.reasons] == ["MISSING_INPUT:creatinine"]


def test_an_egfr_that_is_not_indexed_is_refused(charts: "Charts") -> None:
    """Plain mL/min is another quantity."""
    record = charts.record(charts.lab("egfr_ckdepi2021", 61.0, unit="mL/min"))
    assert charts.extract("ckdepi2021", record)["lab_egfr"].state is InputState.MISSING
