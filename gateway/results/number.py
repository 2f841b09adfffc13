"""Numbers as people and resources get them: a probability in percent, a score as it is."""

import math

from gateway.features.manifest import OutputSpec
from gateway.results.answer import FallbackAnswer

PERCENT_DECIMALS = 3


def percent(probability: float) -> float:
    """Return a probability of 0..1 as percent with at most three decimals: `probabilityDecimal` is a percentage (FHIR R4, ras-2).

    Rounded once, from the number's exact value and half to even; the point is moved in the text, where nothing is rounded again.
    """
    return float(f"{probability:.{PERCENT_DECIMALS + 2}f}e2")


def round_half_up(value: float, decimals: int) -> float:
    """Round as laboratories report: half up (data sheet of the equation), not half to even."""
    scale = 10.0**decimals
    return math.floor(value * scale + 0.5) / scale


def score_number(value: float, decimals: int) -> float:
    """Return a score as it is shown: with that many decimals, a whole number without any."""
    rounded = round_half_up(value, decimals)
    return int(rounded) if decimals == 0 else rounded


def output_words(output: OutputSpec, value: float) -> str:
    """Return an output's number for people: percent with one decimal, or the score."""
    if output.scale == "score":
        return f"{score_number(value, output.decimals):.{output.decimals}f}"
    return f"{percent(value):.1f} %"


def fallback_words(fallback: FallbackAnswer) -> str:
    """Return a fallback's number for people, "" where it gives none: percent, a score, both ends of a range, or a measured value."""
    if fallback.score_range is not None:
        low, high = (f"{score_number(end, fallback.decimals):.{fallback.decimals}f}" for end in fallback.score_range)
        return f"{low} to {high}"
    if fallback.value is None:
        return ""
    if fallback.scale == "score":
        return f"{score_number(fallback.value, fallback.decimals):.{fallback.decimals}f}"
    return f"{percent(fallback.value):.1f} %" if fallback.unit == "1" else f"{fallback.value:g} {fallback.unit}"
