"""What a published score is, what it gives, and the few ways in which all scores read their inputs."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from gateway.record.reason import Reason

ScoreInputs = Mapping[str, float | str]  # parameter name, with its unit -> number, or text where the score says so


class ScoreRefused(ValueError):
    """An input is missing, not a finite number, or impossible: the score gives nothing. Names the parameter, never its value."""

    def __init__(self, parameter: str, why: str) -> None:
        super().__init__(f"{parameter} {why}")
        self.parameter = parameter


class ScoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """A number in `unit` (a probability is 0..1, unit "1"), its category in words, what must be said with it, and cautions.

    A score that is a category has no number; `texts` holds its parts as vector files write them. `score_range`: both ends, where inputs are
    missing; it has no number then either, so that nobody takes one end for the score.
    """

    value: float | None = None
    score_range: tuple[float, float] | None = None
    unit: str = "1"
    qualitative: str | None = None
    notes: tuple[str, ...] = ()
    cautions: tuple[Reason, ...] = ()
    texts: Mapping[str, str] = {}
    alerts: bool = False  # what is known asks for a response by the source's own words

    def __post_init__(self) -> None:
        if self.value is None and not self.qualitative:
            raise ValueError("a score is a number or a category")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError("a score's value is a finite number")


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A published score under its own name.

    `parameters` are required, `optional` may be left out; other names are refused. `vector_column` is the result's column in its own
    vector files, `text_columns` those of its parts in words: column -> name in `ScoreResult.texts`. `beside_column` is its column in the
    vector file of the model it stands in for. `scale` and `decimals`: see `OutputSpec`.
    """

    name: str
    title: str
    citation: str
    doi: str
    outcome_text: str
    horizon_years: int | None
    limitations: tuple[str, ...]
    parameters: tuple[str, ...]
    formula: Callable[[ScoreInputs], ScoreResult]
    optional: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()  # parameters that a vector file states in words or as a code
    vector_column: str | None = None
    text_columns: Mapping[str, str] = {}
    beside_column: str | None = None
    scale: Literal["probability", "score"] = "probability"
    decimals: int = 0

    def compute(self, inputs: ScoreInputs) -> ScoreResult:
        """Return the score.

        Raises:
            ScoreRefused: a parameter is missing, unknown, NaN, infinite or impossible.
        """
        for name in self.parameters:
            if name not in inputs:
                raise ScoreRefused(name, "is missing")
        for name in inputs:
            if name not in self.parameters and name not in self.optional:
                raise ScoreRefused(name, "is not a parameter of this score")
        return self.formula(inputs)


def number_within(inputs: ScoreInputs, name: str, low: float, high: float) -> float:
    """Return a number with `low <= number <= high`; NaN is never within.

    Raises:
        ScoreRefused: it is text, NaN, infinite or outside.
    """
    value = inputs[name]
    if isinstance(value, str) or not low <= value <= high:
        raise ScoreRefused(name, f"must be a number from {low:g} to {high:g}")
    return float(value)


def yes_or_no(inputs: ScoreInputs, name: str) -> bool:
    """Return whether a 0/1 parameter is 1.

    Raises:
        ScoreRefused: it is anything but exactly 0 or 1.
    """
    value = inputs[name]
    if isinstance(value, str) or value not in (0, 1):
        raise ScoreRefused(name, "must be exactly 0 or 1")
    return value == 1


def is_male(inputs: ScoreInputs, name: str = "sex") -> bool:
    """Return whether sex is male: the words `female` and `male`, or 0 and 1 in this order.

    Raises:
        ScoreRefused: it is anything else; there is no default sex.
    """
    value = inputs[name]
    if value in ("female", "male"):
        return value == "male"
    if isinstance(value, str) or value not in (0, 1):
        raise ScoreRefused(name, "must be female or male")
    return value == 1
