"""NEWS2 as a range, where inputs are missing: what the known ones give, and what the missing ones could add. Never one number, never "low".

Source: Royal College of Physicians. National Early Warning Score (NEWS) 2. London: RCP, 2017, ISBN 978-1-86016-682-2. Scoring a missing
vital as 0 would hide illness, so the lower end is the sum of the known sub-scores; the upper end adds the most that each missing input can
give.
"""

import math
from collections.abc import Mapping
from itertools import product

from gateway.scores.score import Score, ScoreInputs, ScoreRefused, ScoreResult, number_within

# Chart rows: (up to this value, points), after rounding half up to the chart's step. Limits: plausible by the terminology's tables.
RESPIRATION = ((8, 3), (11, 1), (20, 0), (24, 2), (80, 3))
SATURATION = ((91, 3), (93, 2), (95, 1), (100, 0))
SATURATION_SCALE_2 = ((83, 3), (85, 2), (87, 1), (92, 0))  # above 92: see `_saturation_scale_2`
SATURATION_SCALE_2_ON_OXYGEN = ((94, 1), (96, 2), (100, 3))
TEMPERATURE_TENTHS = ((350, 3), (360, 1), (380, 0), (390, 1), (450, 2))
PRESSURE = ((90, 3), (100, 2), (110, 1), (219, 0), (300, 3))
PULSE = ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (300, 3))
LIMITS = {
    "respiratory_rate_per_min": (3, 80),
    "spo2_pct": (30, 100),
    "temperature_cel": (25, 45),
    "systolic_bp_mm_hg": (40, 300),
    "heart_rate_per_min": (15, 300),
}
OXYGEN, CONSCIOUSNESS, SCALE = "supplemental_oxygen_0_1", "consciousness_acvpu", "spo2_scale"
HYPERCAPNIC_TARGET = "hypercapnic_target_documented_0_1"
VITALS = (*LIMITS, OXYGEN, CONSCIOUSNESS)
SCALE_2 = 2
POINTS_ON_OXYGEN = 2
POINTS_NOT_ALERT = 3
ALERT, NOT_ALERT = frozenset({"A", 0}), frozenset({"C", "V", "P", "U", 1})
HALF = 0.5 + 1e-9  # a decimal half such as 38.05 lies a hair below it in binary
HIGH_FROM, MEDIUM_FROM, RED = 7, 5, 3
BANDS = ("low", "low-medium", "medium", "high")
NOTES = (
    "A lower bound and an upper bound, because inputs are missing: act on the lower one, and measure what is missing.",
    "An incomplete set of observations never shows a low risk.",
)


def _range(inputs: ScoreInputs) -> ScoreResult:
    """Return both ends, and the least band that the known inputs prove."""
    known = {name: value for name, value in inputs.items() if name in VITALS and not _is_absent(value)}
    if not known:
        raise ScoreRefused(VITALS[0], "and every other vital sign is missing")
    on_scale_2 = inputs.get(SCALE) == SCALE_2 or inputs.get(HYPERCAPNIC_TARGET) == 1
    ends = [_possible(name, known, on_scale_2=on_scale_2) for name in VITALS]
    totals = [(sum(points), max(points[: len(LIMITS)] + points[-1:]) >= RED) for points in product(*ends)]
    low, high = min(total for total, _ in totals), max(total for total, _ in totals)
    bands = sorted({BANDS.index(_band(total, has_red=red)) for total, red in totals})
    at_least = BANDS[bands[0]]
    certain = len(bands) == 1
    return ScoreResult(
        score_range=(low, high),
        qualitative=_words(low, at_least, certain=certain),
        notes=NOTES,
        alerts=at_least != BANDS[0],
        texts={"low": str(low), "high": str(high), "band": at_least, "certain": str(int(certain)), "low_risk_may_be_shown": "0"},
    )


def _words(low: int, band: str, *, certain: bool) -> str:
    if band == BANDS[0]:
        return f"at least {low}; the band is not known, because what is missing could raise it"
    return f"at least {low}: {band}" if certain else f"at least {low}: {band} or higher"


def _band(total: int, *, has_red: bool) -> str:
    if total >= HIGH_FROM:
        return BANDS[3]
    if total >= MEDIUM_FROM:
        return BANDS[2]
    return BANDS[1] if has_red else BANDS[0]


def _is_absent(value: float | str) -> bool:
    return not value if isinstance(value, str) else math.isnan(value)


def _possible(name: str, known: Mapping[str, float | str], *, on_scale_2: bool) -> tuple[int, ...]:
    """Return the points that an input has, or the fewest and the most it could have."""
    if name == "spo2_pct" and on_scale_2 and name in known:
        return _saturation_scale_2(_rounded(known, name), known)
    if name in known:
        return (_points(name, known),)
    return (0, POINTS_ON_OXYGEN) if name == OXYGEN else (0, 3)


def _points(name: str, known: Mapping[str, float | str]) -> int:
    value = known[name]
    if name == CONSCIOUSNESS:
        if value not in ALERT and value not in NOT_ALERT:
            raise ScoreRefused(name, "must be A, C, V, P or U, or 0 for alert and 1 for not alert")
        return POINTS_NOT_ALERT if value in NOT_ALERT else 0
    if name == OXYGEN:
        return POINTS_ON_OXYGEN if _is_on_oxygen(known) else 0
    rows = dict(zip(LIMITS, (RESPIRATION, SATURATION, TEMPERATURE_TENTHS, PRESSURE, PULSE), strict=True))[name]
    return _row(rows, _rounded(known, name))


def _row(rows: tuple[tuple[int, int], ...], value: int) -> int:
    return next(points for up_to, points in rows if value <= up_to)


def _saturation_scale_2(value: int, known: Mapping[str, float | str]) -> tuple[int, ...]:
    """Scale 2 counts a saturation above its target on oxygen only; where the oxygen is not known, both may be."""
    if value <= SATURATION_SCALE_2[-1][0]:
        return (_row(SATURATION_SCALE_2, value),)
    on_oxygen = _row(SATURATION_SCALE_2_ON_OXYGEN, value)
    if OXYGEN not in known:
        return (0, on_oxygen)
    return (on_oxygen if _is_on_oxygen(known) else 0,)


def _is_on_oxygen(known: Mapping[str, float | str]) -> bool:
    value = known[OXYGEN]
    if value not in (0, 1):
        raise ScoreRefused(OXYGEN, "must be exactly 0 or 1")
    return value == 1


def _rounded(known: Mapping[str, float | str], name: str) -> int:
    """Return a measurement in the chart's steps, rounded half up."""
    value = number_within(known, name, *LIMITS[name])
    return math.floor((value * 10 if name == "temperature_cel" else value) + HALF)


NEWS2_LOWER_BOUND = Score(
    name="news2_lower_bound",
    title="NEWS2 with missing inputs",
    citation="Royal College of Physicians. National Early Warning Score (NEWS) 2. London: RCP, 2017. ISBN 978-1-86016-682-2",
    doi="",
    outcome_text="Acute deterioration: death, intensive care or arrest within 24 hours; a range of points, no probability",
    horizon_years=None,
    limitations=NOTES,
    parameters=(),
    optional=(*VITALS, SCALE, HYPERCAPNIC_TARGET),
    texts=frozenset({CONSCIOUSNESS}),
    formula=_range,
    text_columns={
        "expected_score_min": "low",
        "expected_score_max": "high",
        "expected_band_at_least": "band",
        "expected_band_certain_0_1": "certain",
        "expected_low_risk_may_be_shown_0_1": "low_risk_may_be_shown",
    },
    scale="score",
)
