"""Framingham general cardiovascular risk, office-based form with BMI instead of lipids.

Source: D'Agostino RB Sr, Vasan RS, Pencina MJ, et al. General cardiovascular risk profile for use in primary care: the Framingham Heart
Study. Circulation 2008;117:743-753, DOI 10.1161/CIRCULATIONAHA.107.699579.
"""

import math
from typing import NamedTuple

from gateway.scores.score import Score, ScoreInputs, ScoreResult, is_male, number_within, yes_or_no

OVERESTIMATES = "Framingham scores tend to over-estimate risk in today's populations."


class _Coefficients(NamedTuple):
    """One column of the paper's office-based table; ages in years, BMI in kg/m2, SBP in mm Hg, natural logarithms."""

    ln_age: float
    ln_bmi: float
    ln_sbp_untreated: float
    ln_sbp_treated: float
    smoker: float
    diabetes: float
    mean: float
    survival_10y: float


_WOMEN = _Coefficients(2.72107, 0.51125, 2.81291, 2.88267, 0.61868, 0.77763, 26.0145, 0.94833)
_MEN = _Coefficients(3.11296, 0.79277, 1.85508, 1.92672, 0.70953, 0.53160, 23.9388, 0.88431)

AGE_YEARS = (30, 74)  # the ages the score was made for
# Not limits of the paper: outside them a value is a data error (plausible ranges of the terminology's tables).
BMI_KG_M2 = (8, 100)
SBP_MM_HG = (40, 300)


def _risk(inputs: ScoreInputs) -> ScoreResult:
    """Return `1 - S0 ** exp(sum - mean)`, unclamped."""
    table = _MEN if is_male(inputs) else _WOMEN
    treated = yes_or_no(inputs, "bp_treatment_0_1")
    total = (
        table.ln_age * math.log(number_within(inputs, "age_years", *AGE_YEARS))
        + table.ln_bmi * math.log(number_within(inputs, "bmi_kg_m2", *BMI_KG_M2))
        + (table.ln_sbp_treated if treated else table.ln_sbp_untreated) * math.log(number_within(inputs, "sbp_mm_hg", *SBP_MM_HG))
        + table.smoker * yes_or_no(inputs, "smoker_0_1")
        + table.diabetes * yes_or_no(inputs, "diabetes_0_1")
    )
    return ScoreResult(value=1.0 - table.survival_10y ** math.exp(total - table.mean), notes=(OVERESTIMATES,))


FRAMINGHAM_BMI = Score(
    name="framingham_bmi",
    title="Framingham general cardiovascular risk (BMI form)",
    citation="D'Agostino RB Sr, Vasan RS, Pencina MJ, et al. Circulation 2008;117:743-753",
    doi="10.1161/CIRCULATIONAHA.107.699579",
    outcome_text="First general cardiovascular disease event (coronary, stroke, peripheral artery disease, heart failure) within 10 years",
    horizon_years=10,
    limitations=("Age 30 to 74 years, free of cardiovascular disease.", OVERESTIMATES),
    parameters=("age_years", "sex", "bmi_kg_m2", "sbp_mm_hg", "bp_treatment_0_1", "smoker_0_1", "diabetes_0_1"),
    formula=_risk,
    texts=frozenset({"sex"}),
    vector_column="expected_risk_10y_cvd",
)
