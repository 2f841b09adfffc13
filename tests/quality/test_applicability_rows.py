"""Who may be scored, what is withheld, which fallback may follow: every row of the vectors for the shipped models."""

import csv
import json
from pathlib import Path

import pytest

from gateway.features.manifest import ModelManifest
from gateway.quality.stated import report_for_stated, stated_result
from gateway.terminology import Terminology


def _parts(cell: str) -> set[str]:
    return {part for part in cell.split("|") if part and part != "none"}


def test_every_applicability_row_of_the_shipped_models_is_met(
    clinical_dir: Path, manifests: dict[str, ModelManifest], terminology: Terminology
) -> None:
    """Status, reason codes, outputs and fallbacks are those of the row, for every row of a model that is shipped."""
    with (clinical_dir / "applicability_vectors.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["model_id"] in manifests]
    wrong = []
    for row in rows:
        manifest = manifests[row["model_id"]]
        found = stated_result(manifest, report_for_stated(manifest, json.loads(row["input_json"]), terminology))
        expected = (
            row["expected_status"],
            _parts(row["expected_reason_codes"]),
            _parts(row["expected_outputs_available"]),
            _parts(row["expected_fallback"]),
        )
        given = (found.status, set(found.codes), set(found.labels), set(found.fallbacks))
        if given != expected:
            wrong.append((row["case_id"], given, expected))
    assert not wrong
    assert {"ckdepi2021", "fib4", "meld3", "prevent"} <= {row["model_id"] for row in rows}
    assert len(rows) >= 23


BASE = {
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
ALL = "total_cvd ascvd heart_failure chd stroke 30y"
OF_LIPIDS = "total_cvd ascvd chd stroke"

PREVENT_ROWS = [
    # what differs from the base          status     codes                                      labels            fallback
    ({}, "ok", "", ALL, ""),
    ({"total_cholesterol_mg_dl": None}, "partial", "MISSING_INPUT:total_cholesterol", "heart_failure", "framingham_bmi"),
    ({"hdl_cholesterol_mg_dl": None}, "partial", "MISSING_INPUT:hdl_cholesterol", "heart_failure", "framingham_bmi"),
    ({"statin_0_1": None}, "partial", "MISSING_INPUT:statin", "heart_failure", ""),
    ({"bmi_kg_m2": None}, "partial", "MISSING_INPUT:bmi", OF_LIPIDS, ""),
    ({"egfr_ml_min_1_73m2": None}, "abstain", "MISSING_INPUT:egfr", "", "framingham_bmi"),
    ({"sbp_mm_hg": None}, "abstain", "MISSING_INPUT:sbp", "", ""),
    ({"diabetes_0_1": None}, "abstain", "MISSING_INPUT:diabetes", "", ""),
    ({"smoker_0_1": None}, "abstain", "MISSING_INPUT:smoker", "", ""),
    ({"bp_treatment_0_1": None}, "abstain", "MISSING_INPUT:bp_treatment", "", ""),
    ({"age_years": None}, "abstain", "MISSING_INPUT:age", "", ""),
    ({"age_years": 60}, "ok", "", "total_cvd ascvd heart_failure chd stroke", ""),
    ({"age_years": 76, "total_cholesterol_mg_dl": None}, "partial", "MISSING_INPUT:total_cholesterol", "heart_failure", ""),
    ({"age_years": 80, "total_cholesterol_mg_dl": None}, "abstain", "AGE_OUT_OF_RANGE MISSING_INPUT:total_cholesterol", "", ""),
    ({"total_cholesterol_mg_dl": 350}, "partial", "VALUE_OUT_OF_MODEL_RANGE:total_cholesterol", "heart_failure", "framingham_bmi"),
    ({"total_cholesterol_mg_dl": 52}, "partial", "INCONSISTENT:hdl_gt_total_cholesterol", "heart_failure", "framingham_bmi"),
    ({"bmi_kg_m2": 45}, "partial", "VALUE_OUT_OF_MODEL_RANGE:bmi", OF_LIPIDS, ""),
    ({"bmi_kg_m2": 300}, "partial", "IMPLAUSIBLE_VALUE:bmi", OF_LIPIDS, ""),
    ({"sbp_mm_hg": 185}, "ok", "CAUTION:sbp_above_180", ALL, ""),
    ({"sbp_mm_hg": 210}, "abstain", "VALUE_OUT_OF_MODEL_RANGE:sbp", "", ""),
    ({"egfr_ml_min_1_73m2": 150}, "abstain", "VALUE_OUT_OF_MODEL_RANGE:egfr", "", ""),
    ({"egfr_ml_min_1_73m2": 900}, "abstain", "IMPLAUSIBLE_VALUE:egfr", "", ""),
    ({"prior_cvd_0_1": 1}, "abstain", "PRIOR_CVD", "", ""),
    ({"prior_cvd_0_1": 1, "total_cholesterol_mg_dl": None}, "abstain", "PRIOR_CVD MISSING_INPUT:total_cholesterol", "", ""),
    ({"prior_cvd_0_1": 0, "pregnancy_0_1": 0}, "ok", "", ALL, ""),
    ({"labs_age_days": 2000}, "abstain", "STALE_INPUT:labs", "", ""),
    ({"labs_age_days": 400}, "abstain", "STALE_INPUT:labs", "", ""),
    ({"labs_age_days": 365}, "ok", "", ALL, ""),
    ({"vitals_age_days": 400}, "abstain", "STALE_INPUT:vitals", "", ""),
    ({"total_cholesterol_age_days": 2000}, "partial", "STALE_INPUT:total_cholesterol", "heart_failure", "framingham_bmi"),
    ({"egfr_age_days": 400}, "abstain", "STALE_INPUT:egfr", "", ""),
    ({"smoker_age_days": 400}, "abstain", "STALE_INPUT:smoker", "", ""),
    ({"care_setting": "ed"}, "abstain", "CARE_SETTING", "", ""),
    ({"care_setting": "inpatient", "total_cholesterol_mg_dl": None}, "abstain", "CARE_SETTING MISSING_INPUT:total_cholesterol", "", ""),
    ({"hba1c_pct": 6.1}, "ok", "", ALL, ""),
    ({"hba1c_pct": 6.1, "hba1c_age_days": 400}, "ok", "", ALL, ""),
    ({"hba1c_pct": 16}, "ok", "VALUE_OUT_OF_MODEL_RANGE:hba1c", ALL, ""),
    ({"uacr_mg_g": 40000}, "ok", "IMPLAUSIBLE_VALUE:uacr", ALL, ""),
    ({"sex": "other", "total_cholesterol_mg_dl": None}, "abstain", "SEX_UNSUPPORTED MISSING_INPUT:total_cholesterol", "", ""),
    ({"deceased_0_1": 1}, "abstain", "DECEASED", "", ""),
]
CKDEPI_BASE = {"age_years": 60, "sex": "male", "creatinine_mg_dl": 1.2}
CKDEPI_ROWS = [
    ({}, "ok", "", "egfr", ""),
    ({"creatinine_mg_dl": 80}, "abstain", "IMPLAUSIBLE_VALUE:creatinine", "", ""),
    (
        {"creatinine_mg_dl": 80, "lab_egfr": 62, "lab_egfr_loinc": "98979-8"},
        "abstain",
        "IMPLAUSIBLE_VALUE:creatinine",
        "",
        "lab_reported_egfr",
    ),
    ({"creatinine_age_days": 400}, "abstain", "STALE_INPUT:creatinine", "", ""),
    ({"creatinine_age_days": 3, "care_setting": "inpatient"}, "abstain", "STALE_INPUT:creatinine", "", ""),
    ({"creatinine_age_days": 2, "care_setting": "ed"}, "ok", "", "egfr", ""),
    ({"labs_age_days": 400, "lab_egfr": 62, "lab_egfr_loinc": "98979-8"}, "abstain", "STALE_INPUT:labs", "", ""),
    (
        {"creatinine_mg_dl": None, "lab_egfr": 62, "lab_egfr_loinc": "33914-3"},
        "abstain",
        "MISSING_INPUT:creatinine",
        "",
        "lab_reported_egfr",
    ),
    ({"creatinine_mg_dl": None, "lab_egfr": 62, "lab_egfr_loinc": "2160-0"}, "abstain", "MISSING_INPUT:creatinine", "", ""),
    ({"creatinine_mg_dl": None, "lab_egfr": 62}, "abstain", "MISSING_INPUT:creatinine", "", ""),
    ({"aki_0_1": 1}, "abstain", "UNSTABLE_CREATININE", "", ""),
    ({"pregnancy_0_1": 1, "sex": "female"}, "abstain", "PREGNANCY", "", ""),
    (
        {"kidney_replacement_0_1": 1, "creatinine_mg_dl": None, "lab_egfr": 62, "lab_egfr_loinc": "98979-8"},
        "abstain",
        "KIDNEY_REPLACEMENT MISSING_INPUT:creatinine",
        "",
        "",
    ),
    ({"sex": "unknown"}, "abstain", "SEX_UNSUPPORTED", "", ""),
    ({"age_years": 18}, "ok", "", "egfr", ""),
]


@pytest.mark.parametrize(
    ("model", "base", "row"),
    [*(("prevent", BASE, row) for row in PREVENT_ROWS), *(("ckdepi2021", CKDEPI_BASE, row) for row in CKDEPI_ROWS)],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_the_data_sheet_decides_each_case(
    model: str,
    base: dict[str, object],
    row: tuple[dict[str, object], str, str, str, str],
    manifests: dict[str, ModelManifest],
    terminology: Terminology,
) -> None:
    """Each row follows from the data sheet: what is withheld, with which codes, and whether another score may stand in."""
    changed, status, codes, labels, fallback = row
    manifest = manifests[model]
    found = stated_result(manifest, report_for_stated(manifest, {**base, **changed}, terminology))
    assert (found.status, set(found.codes), set(found.labels), set(found.fallbacks)) == (
        status,
        set(codes.split()),
        set(labels.split()),
        set(fallback.split()),
    )


@pytest.mark.parametrize(
    ("optional", "variant"),
    [
        ({}, "base"),
        ({"uacr_mg_g": 20}, "uacr"),
        ({"hba1c_pct": 6}, "hba1c"),
        ({"uacr_mg_g": 20, "hba1c_pct": 6}, "full"),
        ({"uacr_mg_g": 20, "hba1c_pct": 6, "hba1c_age_days": 366}, "uacr"),
        ({"uacr_mg_g": 28000, "hba1c_pct": 6}, "hba1c"),
        ({"uacr_mg_g": 28000, "hba1c_pct": 2.5}, "base"),
    ],
)
def test_the_variant_is_that_of_the_valid_optional_inputs(
    optional: dict[str, object], variant: str, manifests: dict[str, ModelManifest], terminology: Terminology
) -> None:
    """A missing, stale or out-of-range optional input drops the model to the variant without it."""
    report = report_for_stated(manifests["prevent"], {**BASE, **optional}, terminology)
    assert report.variant == variant
    assert len(report.available) == 10


def test_a_row_with_an_unknown_name_cannot_be_run(manifests: dict[str, ModelManifest], terminology: Terminology) -> None:
    """A misspelt name must not read as a missing input."""
    with pytest.raises(ValueError, match="sbp_mmhg"):
        report_for_stated(manifests["prevent"], {**BASE, "sbp_mmhg": 120}, terminology)


def test_a_number_given_as_words_cannot_be_run(manifests: dict[str, ModelManifest], terminology: Terminology) -> None:
    """A row that states no number where one belongs fails instead of being read as missing."""
    with pytest.raises(ValueError, match="sbp_mm_hg"):
        report_for_stated(manifests["prevent"], {**BASE, "sbp_mm_hg": "high"}, terminology)
