"""Published rule-based scores in plain Python: the fallback that works when nothing else does. No I/O, no numpy, no runtime.

    SCORES["framingham_bmi"].compute({"age_years": 55, "sex": "male", ...}) -> ScoreResult(value=0.167...)

A score answers under its own name, outcome and citation; it never fills the slot of the model it stands in for.
"""

from gateway.scores.apri import APRI
from gateway.scores.framingham_bmi import FRAMINGHAM_BMI
from gateway.scores.hospital import HOSPITAL_LOWER_BOUND
from gateway.scores.kdigo import KDIGO_G_STAGE_ONLY, KDIGO_RISK
from gateway.scores.lab_reported_egfr import LAB_REPORTED_EGFR
from gateway.scores.lace import LACE
from gateway.scores.meld import MELD_NA, MELD_ORIGINAL
from gateway.scores.news2 import NEWS2_LOWER_BOUND
from gateway.scores.qsofa import QSOFA
from gateway.scores.score import Score, ScoreInputs, ScoreRefused, ScoreResult

_ALL = (
    FRAMINGHAM_BMI,
    LAB_REPORTED_EGFR,
    KDIGO_RISK,
    KDIGO_G_STAGE_ONLY,
    MELD_NA,
    MELD_ORIGINAL,
    APRI,
    NEWS2_LOWER_BOUND,
    QSOFA,
    HOSPITAL_LOWER_BOUND,
    LACE,
)
SCORES = {score.name: score for score in _ALL}

__all__ = ["SCORES", "Score", "ScoreInputs", "ScoreRefused", "ScoreResult"]
