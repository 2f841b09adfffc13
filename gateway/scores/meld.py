"""MELD-Na and the original MELD: what stands in for a newer version of the score where its inputs are not all there.

Sources: MELD-Na as the OPTN used it from 2016 to 2023: Kim WR, Biggins SW, Kremers WK, et al. Hyponatremia and mortality among patients on
the liver-transplant waiting list. N Engl J Med 2008;359:1018-1026, DOI 10.1056/NEJMoa0801209. Original: Kamath PS, Wiesner RH, Malinchoc M,
et al. Hepatology 2001;33:464-470, DOI 10.1053/jhep.2001.22172, with the bounds of the OPTN.

    i = 0.957 * ln(creatinine) + 0.378 * ln(bilirubin) + 1.120 * ln(INR) + 0.643, rounded to one decimal; M = 10 * i
    MELD-Na = M + 1.32 * (137 - Na) - 0.033 * M * (137 - Na) where M > 11, rounded; both limited to 6..40
"""

import math

from gateway.scores.score import Score, ScoreInputs, ScoreResult, number_within, yes_or_no

# Plausible ranges of the terminology's tables: outside them a value is a data error.
BILIRUBIN_MG_DL, INR, CREATININE_MG_DL, SODIUM_MMOL_L = (0.05, 80), (0.5, 20), (0.1, 40), (95, 200)
LOWEST_BOUND = 1.0  # bilirubin, INR and creatinine: ln 1 = 0
CREATININE_HIGHEST_MG_DL = 4.0  # also the creatinine of a patient on dialysis
SODIUM_BOUNDS_MMOL_L = (125, 137)
SODIUM_COUNTS_ABOVE = 11
LOWEST, HIGHEST = 6, 40
NOT_THE_SAME = "The versions of MELD are not interchangeable: compare this number only with others of the same version."
LIMITS = ("Adults with end-stage liver disease.", NOT_THE_SAME, "The INR does not reflect the liver under a vitamin K antagonist.")
PARAMETERS = ("bilirubin_mg_dl", "inr", "creatinine_mg_dl", "dialysis_2x_7d_0_1")


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _unlimited(inputs: ScoreInputs) -> int:
    """Return M, not yet limited to 6..40."""
    bilirubin = max(number_within(inputs, "bilirubin_mg_dl", *BILIRUBIN_MG_DL), LOWEST_BOUND)
    inr = max(number_within(inputs, "inr", *INR), LOWEST_BOUND)
    creatinine = min(max(number_within(inputs, "creatinine_mg_dl", *CREATININE_MG_DL), LOWEST_BOUND), CREATININE_HIGHEST_MG_DL)
    if yes_or_no(inputs, "dialysis_2x_7d_0_1"):
        creatinine = CREATININE_HIGHEST_MG_DL
    return _half_up(10 * (0.957 * math.log(creatinine) + 0.378 * math.log(bilirubin) + 1.120 * math.log(inr) + 0.643))


def _limited(score: int) -> ScoreResult:
    return ScoreResult(value=float(min(max(score, LOWEST), HIGHEST)), notes=(NOT_THE_SAME,))


def _original(inputs: ScoreInputs) -> ScoreResult:
    return _limited(_unlimited(inputs))


def _with_sodium(inputs: ScoreInputs) -> ScoreResult:
    score = _unlimited(inputs)
    low, high = SODIUM_BOUNDS_MMOL_L
    below = high - min(max(number_within(inputs, "sodium_mmol_l", *SODIUM_MMOL_L), low), high)
    if score > SODIUM_COUNTS_ABOVE:
        score = _half_up(score + 1.32 * below - 0.033 * score * below)
    return _limited(score)


MELD_NA = Score(
    name="meld_na",
    title="MELD-Na (OPTN 2016 to 2023)",
    citation="Kim WR, Biggins SW, Kremers WK, et al. N Engl J Med 2008;359:1018-1026; bounds and rounding of the OPTN 2016-2023",
    doi="10.1056/NEJMoa0801209",
    outcome_text="Severity of end-stage liver disease with sodium (6 to 40)",
    horizon_years=None,
    limitations=LIMITS,
    parameters=(*PARAMETERS, "sodium_mmol_l"),
    formula=_with_sodium,
    vector_column="expected_meld_na",
    scale="score",
)

MELD_ORIGINAL = Score(
    name="meld",
    title="MELD (original version, without sodium)",
    citation="Kamath PS, Wiesner RH, Malinchoc M, et al. Hepatology 2001;33:464-470; bounds as the OPTN used them",
    doi="10.1053/jhep.2001.22172",
    outcome_text="Severity of end-stage liver disease (6 to 40)",
    horizon_years=None,
    limitations=LIMITS,
    parameters=PARAMETERS,
    formula=_original,
    vector_column="expected_meld_original",
    scale="score",
)
