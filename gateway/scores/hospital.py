"""The HOSPITAL score as a range, where inputs are missing: the known points, and what the missing items could add.

Source: Donze JD, et al. JAMA Intern Med 2016;176(4):496-502, DOI 10.1001/jamainternmed.2015.8462; cut-offs of the prior admissions as there
(0 to 1 / 2 to 5 / more). Every item adds points or nothing, so both ends are sums. Stays in other hospitals are invisible: even the upper
end may be too low, and the band is named with "at least".
"""

import math
from collections.abc import Callable, Mapping

from gateway.scores.score import Score, ScoreInputs, ScoreRefused, ScoreResult

HEMOGLOBIN_BELOW_G_DL, SODIUM_BELOW_MMOL_L, LONG_STAY_FROM_DAYS = 12, 135, 5
SOME_ADMISSIONS_FROM, MANY_ADMISSIONS_FROM = 2, 6
HIGH_FROM, INTERMEDIATE_FROM = 7, 5


def _admissions(count: float) -> int:
    if count >= MANY_ADMISSIONS_FROM:
        return 5
    return 2 if count >= SOME_ADMISSIONS_FROM else 0


# item: (lowest and highest possible value, points, the most it can add); laboratory limits by the terminology's tables
ITEMS: Mapping[str, tuple[float, float, Callable[[float], int], int]] = {
    "hemoglobin_discharge_g_dl": (2, 26, lambda value: int(value < HEMOGLOBIN_BELOW_G_DL), 1),
    "oncology_service_or_active_cancer_0_1": (0, 1, lambda value: 2 * int(value), 2),
    "sodium_discharge_mmol_l": (95, 200, lambda value: int(value < SODIUM_BELOW_MMOL_L), 1),
    "procedure_0_1": (0, 1, int, 1),
    "urgent_admission_0_1": (0, 1, int, 1),
    "admissions_prev_12m": (0, 400, _admissions, 5),
    "length_of_stay_days": (0, 40000, lambda value: 2 * int(value >= LONG_STAY_FROM_DAYS), 2),
}
NOTES = (
    "A lower bound and an upper bound, because inputs are missing.",
    "Stays in other hospitals are not seen: the score may be higher than both.",
)


def _range(inputs: ScoreInputs) -> ScoreResult:
    """Return both ends and the least band."""
    known = {name: _known(name, value) for name, value in inputs.items() if not (isinstance(value, float) and math.isnan(value))}
    if not known:
        raise ScoreRefused(next(iter(ITEMS)), "and every other item is missing")
    low = sum(ITEMS[name][2](value) for name, value in known.items())
    high = low + sum(most for name, (*_, most) in ITEMS.items() if name not in known)
    at_least, at_most = _band(low), _band(high)
    certain = at_least == at_most
    return ScoreResult(
        score_range=(low, high),
        qualitative=f"at least {at_least}" if certain or at_least != _band(0) else f"at least {low}; the band is not known",
        notes=NOTES,
        alerts=low >= HIGH_FROM,
        texts={"low": str(low), "high": str(high), "band": at_least, "certain": str(int(certain))},
    )


def _known(name: str, value: float | str) -> float:
    low, high, _, _ = ITEMS[name]
    if isinstance(value, str) or not low <= value <= high or (name.endswith(("_0_1", "_12m")) and value != math.floor(value)):
        raise ScoreRefused(name, f"must be a number from {low:g} to {high:g}")
    return float(value)


def _band(points: int) -> str:
    if points >= HIGH_FROM:
        return "high"
    return "intermediate" if points >= INTERMEDIATE_FROM else "low"


HOSPITAL_LOWER_BOUND = Score(
    name="hospital_lower_bound",
    title="HOSPITAL score with missing inputs",
    citation="Donze JD, et al. JAMA Intern Med 2016;176(4):496-502",
    doi="10.1001/jamainternmed.2015.8462",
    outcome_text="Potentially avoidable readmission within 30 days of discharge; a range of points, no probability",
    horizon_years=None,
    limitations=NOTES,
    parameters=(),
    optional=tuple(ITEMS),
    formula=_range,
    text_columns={
        "expected_score_min": "low",
        "expected_score_max": "high",
        "expected_band_at_least": "band",
        "expected_band_certain_0_1": "certain",
    },
    scale="score",
)
