"""An eGFR that a laboratory reported, passed on with the name of its equation: nothing is computed.

Source of the stages: KDIGO 2024 Clinical Practice Guideline for the Evaluation and Management of Chronic Kidney Disease, table of GFR
categories (G1 to G5). Equations by LOINC code: loinc.org.
"""

from gateway.record.reason import Reason, ReasonCode
from gateway.scores.score import Score, ScoreInputs, ScoreRefused, ScoreResult, number_within

UNIT = "mL/min/{1.73_m2}"
EGFR_RANGE = (0, 200)  # a laboratory's number above this is a data error (plausible range of the terminology's tables)

# KDIGO: the lowest eGFR of each stage, in mL/min/1.73 m2.
G_STAGES = ((90.0, "G1"), (60.0, "G2"), (45.0, "G3a"), (30.0, "G3b"), (15.0, "G4"), (0.0, "G5"))

CKD_EPI_2021 = "98979-8"
EQUATIONS = {
    CKD_EPI_2021: "CKD-EPI 2021 (creatinine)",
    "62238-1": "CKD-EPI (creatinine), not the equation of 2021",
    "88293-6": "CKD-EPI 2009 (creatinine), with a term for race",
    "88294-4": "CKD-EPI 2009 (creatinine), with a term for race",
    "33914-3": "MDRD",
    "48642-3": "MDRD, with a term for race",
    "48643-1": "MDRD, with a term for race",
    "69405-9": "an equation that the laboratory did not name",
}
OTHER_EQUATION = Reason(ReasonCode.CAUTION, "egfr_other_equation", "not computed by CKD-EPI 2021")
NOT_NAMED = "As reported by the laboratory; the equation is not named here."


def g_stage(egfr_ml_min_1_73m2: float) -> str:
    """Return the KDIGO G stage of an unrounded eGFR.

    Raises:
        ValueError: the number is negative or NaN.
    """
    for lowest, stage in G_STAGES:
        if egfr_ml_min_1_73m2 >= lowest:
            return stage
    raise ValueError("an eGFR is a number from 0 on")


def _passed_on(inputs: ScoreInputs) -> ScoreResult:
    """Return the reported number as it is; a code that names no known equation is refused."""
    value = number_within(inputs, "lab_egfr", *EGFR_RANGE)
    code = inputs.get("lab_egfr_loinc")
    if code is None:
        return ScoreResult(value=value, unit=UNIT, qualitative=g_stage(value), notes=(NOT_NAMED,))
    if not isinstance(code, str) or code not in EQUATIONS:
        raise ScoreRefused("lab_egfr_loinc", "is not the code of an eGFR by a known equation")
    return ScoreResult(
        value=value,
        unit=UNIT,
        qualitative=g_stage(value),
        notes=(f"As reported by the laboratory, by {EQUATIONS[code]}.",),
        cautions=() if code == CKD_EPI_2021 else (OTHER_EQUATION,),
    )


LAB_REPORTED_EGFR = Score(
    name="lab_reported_egfr",
    title="eGFR reported by the laboratory",
    citation="As reported by the laboratory; stages: KDIGO 2024 Clinical Practice Guideline for Chronic Kidney Disease, GFR categories",
    doi="10.1016/j.kint.2023.10.018",
    outcome_text="Estimated glomerular filtration rate, as reported by the laboratory",
    horizon_years=None,
    limitations=("Not recomputed: the laboratory's equation and creatinine method apply.",),
    parameters=("lab_egfr",),
    optional=("lab_egfr_loinc",),
    formula=_passed_on,
    texts=frozenset({"lab_egfr_loinc"}),
)
