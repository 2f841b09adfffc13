"""KDIGO: the risk category of chronic kidney disease by GFR and albuminuria, and the GFR stage alone where albuminuria is not known.

Source: KDIGO 2024 Clinical Practice Guideline for the Evaluation and Management of Chronic Kidney Disease. Kidney Int 2024;105(4S),
DOI 10.1016/j.kint.2023.10.018: categories G1 to G5 and A1 to A3, and the table of prognosis by both.
"""

from gateway.scores.lab_reported_egfr import g_stage
from gateway.scores.score import Score, ScoreInputs, ScoreResult, number_within

CITATION = "KDIGO 2024 Clinical Practice Guideline for the Evaluation and Management of Chronic Kidney Disease. Kidney Int 2024;105(4S)"
DOI = "10.1016/j.kint.2023.10.018"
# Not limits of the guideline: outside them a value is a data error (plausible ranges of the terminology's tables; an eGFR that was computed
# from a plausible creatinine may be above what a laboratory reports).
EGFR_ML_MIN_1_73M2 = (0, 500)
UACR_MG_G = (0.01, 30000)
A2_FROM_MG_G, A2_TO_MG_G = 30, 300  # A1 below 30, A2 from 30 to 300, A3 above 300 mg/g

# Prognosis by GFR stage, in the order A1, A2, A3.
_RISKS = {
    "G1": ("low", "moderate", "high"),
    "G2": ("low", "moderate", "high"),
    "G3a": ("moderate", "high", "very_high"),
    "G3b": ("high", "very_high", "very_high"),
    "G4": ("very_high", "very_high", "very_high"),
    "G5": ("very_high", "very_high", "very_high"),
}
_A_CATEGORIES = ("A1", "A2", "A3")
NOT_A_RISK = "A category of the guideline, not a probability: it says nothing about when the kidneys may fail."
LOW_IS_NOT_HEALTHY = "G1 and G2 with A1 are kidney disease only where there are other signs of kidney damage."
UACR_IS_DUE = "UACR is due: without a valid urine albumin/creatinine ratio there is no risk category, and no risk of kidney failure."


def a_category(uacr_mg_g: float) -> int:
    """Return the albuminuria category as a place in A1, A2, A3."""
    return 0 if uacr_mg_g < A2_FROM_MG_G else 1 if uacr_mg_g <= A2_TO_MG_G else 2


def _risk(inputs: ScoreInputs) -> ScoreResult:
    """Return the category of the table; the eGFR is not rounded first."""
    stage = g_stage(number_within(inputs, "egfr_ml_min_1_73m2", *EGFR_ML_MIN_1_73M2))
    place = a_category(number_within(inputs, "uacr_mg_g", *UACR_MG_G))
    risk = _RISKS[stage][place]
    notes = (NOT_A_RISK, LOW_IS_NOT_HEALTHY) if risk == "low" else (NOT_A_RISK,)
    texts = {"risk": risk, "g": stage, "a": _A_CATEGORIES[place]}
    return ScoreResult(qualitative=f"{risk.replace('_', ' ')} risk ({stage}, {_A_CATEGORIES[place]})", notes=notes, texts=texts)


def _stage(inputs: ScoreInputs) -> ScoreResult:
    """Return the GFR stage and that the UACR is due."""
    stage = g_stage(number_within(inputs, "egfr_ml_min_1_73m2", *EGFR_ML_MIN_1_73M2))
    return ScoreResult(qualitative=f"GFR stage {stage}", notes=(UACR_IS_DUE,), texts={"g": stage})


KDIGO_RISK = Score(
    name="kdigo_risk",
    title="KDIGO risk category",
    citation=CITATION,
    doi=DOI,
    outcome_text="Prognosis of chronic kidney disease by GFR and albuminuria category",
    horizon_years=None,
    limitations=(NOT_A_RISK, LOW_IS_NOT_HEALTHY, "Chronic kidney disease means changes for at least three months: one result proves none."),
    parameters=("egfr_ml_min_1_73m2", "uacr_mg_g"),
    formula=_risk,
    text_columns={"expected_kdigo_risk": "risk", "expected_g_category": "g", "expected_a_category": "a"},
)

KDIGO_G_STAGE_ONLY = Score(
    name="kdigo_g_stage_only",
    title="KDIGO GFR stage",
    citation=CITATION,
    doi=DOI,
    outcome_text="Stage of kidney function by GFR; no risk",
    horizon_years=None,
    limitations=(UACR_IS_DUE, "Chronic kidney disease means changes for at least three months: one result proves none."),
    parameters=("egfr_ml_min_1_73m2",),
    formula=_stage,
    text_columns={"expected_g_category": "g"},
)
