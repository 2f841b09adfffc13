"""qSOFA: a bedside score for suspected infection.

Source: Singer M, et al. JAMA 2016;315:801-810, DOI 10.1001/jama.2016.0287; Seymour CW, et al. JAMA 2016;315:762-774.
One point each for respiration of at least 22 /min, systolic blood pressure of at most 100 mm[Hg], altered mentation (GCS below 15, or not
alert). Not a screening tool on its own (Surviving Sepsis Campaign 2021): a low number is never shown as reassurance.
"""

from gateway.scores.score import Score, ScoreInputs, ScoreRefused, ScoreResult, number_within, yes_or_no

# Plausible ranges of the terminology's tables.
RESPIRATION_PER_MIN, SYSTOLIC_MM_HG, GCS = (3, 80), (40, 300), (3, 15)
RESPIRATION_FROM, SYSTOLIC_UP_TO, GCS_BELOW = 22, 100, 15
POSITIVE_FROM = 2
LIMITS = (
    "Made for suspected infection only, which is not judged here.",
    "Not a screening tool on its own; a low number does not exclude sepsis or deterioration.",
)


def _points(inputs: ScoreInputs) -> ScoreResult:
    """Return the points; mentation by either of two parameters, exactly one of which is needed."""
    criteria = (
        number_within(inputs, "respiratory_rate_per_min", *RESPIRATION_PER_MIN) >= RESPIRATION_FROM,
        number_within(inputs, "systolic_bp_mm_hg", *SYSTOLIC_MM_HG) <= SYSTOLIC_UP_TO,
        _is_altered(inputs),
    )
    points = sum(criteria)
    positive = points >= POSITIVE_FROM
    words = "positive (2 or more)" if positive else "below 2, which excludes nothing"
    return ScoreResult(value=float(points), qualitative=words, notes=LIMITS, alerts=positive, texts={"positive": str(int(positive))})


def _is_altered(inputs: ScoreInputs) -> bool:
    if "gcs_total" in inputs:
        return number_within(inputs, "gcs_total", *GCS) < GCS_BELOW
    if "not_alert_0_1" in inputs:
        return yes_or_no(inputs, "not_alert_0_1")
    raise ScoreRefused("gcs_total", "is missing, and so is whether the patient is alert")


QSOFA = Score(
    name="qsofa",
    title="qSOFA",
    citation="Singer M, et al. JAMA 2016;315:801-810; Seymour CW, et al. JAMA 2016;315:762-774",
    doi="10.1001/jama.2016.0287",
    outcome_text="In-hospital death with suspected infection (points, no probability)",
    horizon_years=None,
    limitations=LIMITS,
    parameters=("respiratory_rate_per_min", "systolic_bp_mm_hg"),
    optional=("gcs_total", "not_alert_0_1"),
    formula=_points,
    vector_column="expected_qsofa",
    text_columns={"expected_positive_0_1": "positive"},
    scale="score",
)
