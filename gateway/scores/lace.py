"""LACE: death or unplanned readmission within 30 days of discharge.

Source: van Walraven C, et al. CMAJ 2010;182(6):551-557, DOI 10.1503/cmaj.091117. The authors used the codes of Quan 2005 with the weights
of Schneeweiss 2003 for the Charlson index; others use the weights of 1987, so whoever states the index names the choice.
"""

from gateway.scores.score import Score, ScoreInputs, ScoreResult, number_within, yes_or_no

# Points from this value on, the highest first.
LENGTH_OF_STAY = ((14, 7), (7, 5), (4, 4), (3, 3), (2, 2), (1, 1), (0, 0))
CHARLSON = ((4, 5), (3, 3), (2, 2), (1, 1), (0, 0))
ED_VISITS = ((4, 4), (3, 3), (2, 2), (1, 1), (0, 0))
ACUTE_POINTS = 3
HIGH_FROM = 10
DAYS_MAX, CHARLSON_MAX, VISITS_MAX = 40000, 40, 400  # what can happen
LIMITS = (
    "Stays and visits in other hospitals are not seen: the score may be higher.",
    "The weights of the Charlson index differ between users; those of the authors are Schneeweiss 2003.",
)


def _points(inputs: ScoreInputs) -> ScoreResult:
    """Return the points, 0 to 19."""
    total = (
        _row(LENGTH_OF_STAY, number_within(inputs, "length_of_stay_days", 0, DAYS_MAX))
        + ACUTE_POINTS * yes_or_no(inputs, "urgent_admission_0_1")
        + _row(CHARLSON, number_within(inputs, "charlson_index", 0, CHARLSON_MAX))
        + _row(ED_VISITS, number_within(inputs, "ed_visits_prev_6m", 0, VISITS_MAX))
    )
    high = total >= HIGH_FROM
    return ScoreResult(value=float(total), qualitative="high (10 or more)" if high else "below 10", notes=LIMITS, alerts=high)


def _row(rows: tuple[tuple[int, int], ...], value: float) -> int:
    return next(points for start, points in rows if value >= start)


LACE = Score(
    name="lace",
    title="LACE index",
    citation="van Walraven C, et al. CMAJ 2010;182(6):551-557",
    doi="10.1503/cmaj.091117",
    outcome_text="Death or unplanned readmission within 30 days of discharge (points, no probability)",
    horizon_years=None,
    limitations=LIMITS,
    parameters=("length_of_stay_days", "urgent_admission_0_1", "charlson_index", "ed_visits_prev_6m"),
    formula=_points,
    beside_column="fallback_expected_lace",
    scale="score",
)
