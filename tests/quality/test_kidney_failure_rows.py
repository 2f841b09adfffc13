"""Kidney failure: who may be scored, by which form, and which category stands in. Every row follows from the data sheet."""

import pytest

from gateway.quality.stated import as_variant, report_for_stated, stated_result

BASE = {"age_years": 66, "sex": "male", "egfr_ml_min_1_73m2": 38, "uacr_mg_g": 220, "region": "north_america"}
LABS = {"albumin_g_dl": 3.6, "phosphate_mg_dl": 4.1, "bicarbonate_mmol_l": 24, "calcium_mg_dl": 9.2}
BOTH = "2y 5y"

ROWS = [
    # what differs from the base            status     codes                                labels fallback
    ({}, "ok", "", BOTH, ""),
    ({"region": "elsewhere"}, "ok", "", BOTH, ""),
    ({"region": "non_north_america"}, "ok", "", BOTH, ""),
    ({"egfr_ml_min_1_73m2": 59.999}, "ok", "", BOTH, ""),
    ({"egfr_ml_min_1_73m2": 60}, "abstain", "NOT_ELIGIBLE_EGFR", "", "kdigo_risk"),
    ({"egfr_ml_min_1_73m2": 110}, "abstain", "NOT_ELIGIBLE_EGFR", "", "kdigo_risk"),
    ({"egfr_ml_min_1_73m2": 60, "uacr_mg_g": None}, "abstain", "NOT_ELIGIBLE_EGFR MISSING_INPUT:uacr", "", "kdigo_g_stage_only"),
    ({"egfr_ml_min_1_73m2": None}, "abstain", "MISSING_INPUT:egfr", "", ""),
    ({"egfr_ml_min_1_73m2": 900}, "abstain", "IMPLAUSIBLE_VALUE:egfr", "", ""),
    ({"egfr_age_days": 366}, "abstain", "STALE_INPUT:egfr", "", ""),
    ({"egfr_age_days": 365}, "ok", "", BOTH, ""),
    ({"region": None}, "abstain", "CONFIG_MISSING:region", "", "kdigo_risk"),
    ({"region": "europe"}, "abstain", "CONFIG_MISSING:region", "", "kdigo_risk"),
    ({"region": 1}, "abstain", "CONFIG_MISSING:region", "", "kdigo_risk"),
    ({"region": None, "uacr_mg_g": None}, "abstain", "CONFIG_MISSING:region MISSING_INPUT:uacr", "", "kdigo_g_stage_only"),
    ({"region": None, "egfr_ml_min_1_73m2": 70}, "abstain", "CONFIG_MISSING:region NOT_ELIGIBLE_EGFR", "", "kdigo_risk"),
    ({"uacr_mg_g": None}, "abstain", "MISSING_INPUT:uacr", "", "kdigo_g_stage_only"),
    ({"uacr_age_days": 366}, "abstain", "STALE_INPUT:uacr", "", "kdigo_g_stage_only"),
    ({"uacr_age_days": 365}, "ok", "", BOTH, ""),
    ({"uacr_mg_g": 0}, "abstain", "IMPLAUSIBLE_VALUE:uacr", "", "kdigo_g_stage_only"),
    ({"uacr_mg_g": 0.01}, "ok", "", BOTH, ""),
    ({"uacr_mg_g": 25000}, "ok", "", BOTH, ""),
    ({"uacr_mg_g": 25001}, "abstain", "VALUE_OUT_OF_MODEL_RANGE:uacr", "", "kdigo_g_stage_only"),
    ({"uacr_mg_g": 30001}, "abstain", "IMPLAUSIBLE_VALUE:uacr", "", "kdigo_g_stage_only"),
    ({"labs_age_days": 400}, "abstain", "STALE_INPUT:labs", "", ""),
    ({"age_years": 18}, "ok", "", BOTH, ""),
    ({"age_years": 17}, "abstain", "AGE_OUT_OF_RANGE", "", ""),
    ({"age_years": 17, "uacr_mg_g": None}, "abstain", "AGE_OUT_OF_RANGE MISSING_INPUT:uacr", "", ""),
    ({"age_years": None}, "abstain", "MISSING_INPUT:age", "", ""),
    ({"sex": None}, "abstain", "MISSING_INPUT:sex", "", "kdigo_risk"),
    ({"sex": "other"}, "abstain", "SEX_UNSUPPORTED", "", "kdigo_risk"),
    ({"kidney_replacement_0_1": 1}, "abstain", "KIDNEY_REPLACEMENT", "", ""),
    ({"kidney_replacement_0_1": 1, "uacr_mg_g": None}, "abstain", "KIDNEY_REPLACEMENT MISSING_INPUT:uacr", "", ""),
    ({"kidney_replacement_0_1": 1, "region": None}, "abstain", "KIDNEY_REPLACEMENT CONFIG_MISSING:region", "", ""),
    ({"aki_0_1": 1}, "abstain", "UNSTABLE_CREATININE", "", ""),
    ({"aki_0_1": 1, "egfr_ml_min_1_73m2": 70}, "abstain", "UNSTABLE_CREATININE NOT_ELIGIBLE_EGFR", "", ""),
    ({"deceased_0_1": 1}, "abstain", "DECEASED", "", ""),
    ({"phosphate_mg_dl": 35, **{k: v for k, v in LABS.items() if k != "phosphate_mg_dl"}}, "ok", "IMPLAUSIBLE_VALUE:phosphate", BOTH, ""),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ", ".join(f"{name}={value}" for name, value in row[0].items()) or "complete")
def test_the_data_sheet_decides_each_case(row, manifests, terminology):
    """Status, codes, outputs and fallbacks."""
    changed, status, codes, labels, fallback = row
    found = stated_result(manifests["kfre"], report_for_stated(manifests["kfre"], {**BASE, **changed}, terminology))
    assert (found.status, set(found.codes), set(found.labels), set(found.fallbacks)) == (
        status,
        set(codes.split()),
        set(labels.split()),
        set(fallback.split()),
    )


@pytest.mark.parametrize(
    ("changed", "variant"),
    [
        ({}, "kfre8"),
        ({"labs_span_days": 90}, "kfre8"),
        ({"labs_span_days": 91}, "kfre4"),
        ({"albumin_g_dl": None}, "kfre4"),
        ({"phosphate_mg_dl": None}, "kfre4"),
        ({"bicarbonate_mmol_l": 70}, "kfre4"),
        ({"calcium_mg_dl": 2.4}, "kfre4"),  # mmol/L under the name of mg/dL
        ({"calcium_age_days": 366}, "kfre4"),
        ({"calcium_age_days": 365, "albumin_age_days": 276}, "kfre8"),
        ({"calcium_age_days": 365, "albumin_age_days": 274}, "kfre4"),
    ],
)
def test_eight_variables_only_where_all_four_are_valid_and_of_one_time(changed, variant, manifests, terminology):
    """Else the published 4-variable form answers in full; what was not used of one time is no reserve about it."""
    report = report_for_stated(manifests["kfre"], {**BASE, **LABS, **changed}, terminology)
    assert (report.variant, len(report.available)) == (variant, 2)
    assert "NOT_CONTEMPORANEOUS" not in {str(reason) for reason in report.reasons}


@pytest.mark.parametrize(
    ("asked", "changed", "status", "codes", "fallbacks"),
    [
        ("kfre8", {}, "ok", "", ()),
        ("kfre4", {}, "ok", "", ()),
        ("kfre", {"phosphate_mg_dl": None}, "ok", "", ()),
        ("kfre4", {"phosphate_mg_dl": None}, "ok", "", ()),
        ("kfre8", {"phosphate_mg_dl": None}, "abstain", "MISSING_INPUT:phosphate", ("kfre4",)),
        ("kfre8", {"labs_span_days": 120}, "abstain", "NOT_CONTEMPORANEOUS", ("kfre4",)),
        ("kfre8", {"albumin_age_days": 400}, "abstain", "STALE_INPUT:albumin", ("kfre4",)),
        ("kfre8", {"uacr_mg_g": None}, "abstain", "MISSING_INPUT:uacr", ("kdigo_g_stage_only",)),
        ("kfre8", {"calcium_mg_dl": None, "region": None}, "abstain", "CONFIG_MISSING:region MISSING_INPUT:calcium", ("kdigo_risk",)),
    ],
)
def test_a_row_that_names_a_form_is_judged_as_that_form(asked, changed, status, codes, fallbacks, manifests, terminology):
    """`kfre8` without its four is no answer of eight variables: the form of four stands in for it."""
    report = report_for_stated(manifests["kfre"], {**BASE, **LABS, **changed}, terminology)
    found = as_variant(manifests["kfre"], report, asked)
    assert (found.status, set(found.codes), found.fallbacks) == (status, set(codes.split()), fallbacks)
