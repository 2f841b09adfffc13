"""Concepts: what a model may ask for, with its codes, unit, plausible range, time limits and the group it is fetched with.

Source of every row: `data/concepts.csv`, the project's code table (LOINC, SNOMED CT, ICD, RxNorm); its columns name the evidence.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.fhir.group import Group
from gateway.terminology.code import Code

Setting = Literal["ed", "inpatient", "ambulatory"]
SETTINGS: tuple[Setting, ...] = ("ed", "inpatient", "ambulatory")

HOURS_PER_DAY = 24.0
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?) (?P<unit>[dh])\b(?P<note>[^/;]*)")
_UNLIMITED_WORDS = ("active", "ever", "no limit")


class AgeLimit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How old a value may be in one care setting, in days.

    `hard_days`: older is stale; None = no limit stated. `soft_days`: older is answered with a caution. `applicable` is False where the
    table says n/a: the concept means nothing in that setting.
    """

    hard_days: float | None = None
    soft_days: float | None = None
    applicable: bool = True


class Concept(msgspec.Struct, frozen=True, kw_only=True):
    """One concept or code group of the table.

    `unit`: preferred UCUM unit, None for coded concepts and containers. `low`, `high`: outside is a data error, in the preferred unit.
    `container`: a panel whose components are read instead. `coded`: the value is a code, not a number.
    """

    name: str
    group: Group
    codes: tuple[Code, ...]
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    ages: Mapping[Setting, AgeLimit] = {}
    container: bool = False
    coded: bool = False

    def plausible(self, value: float) -> bool:
        """Tell whether a number in the preferred unit lies inside the plausible range, ends included."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def parse_age_limit(text: str) -> AgeLimit:
    """Read a staleness column: `48 h`, `1825 d`, `180 d (365 d hard)`, `n/a`, `active`, or empty.

    Where a cell lists limits of several models (`1 h (one) / 365 d (another)`, `30 d (365 d another)`), the shortest is the default: a
    model's manifest states its own.

    Raises:
        ValueError: the cell holds neither a duration nor a known word.
    """
    text = text.strip()
    if text.lower() == "n/a":
        return AgeLimit(applicable=False)
    hard = re.search(r"\((\d+) d hard\)", text)
    if hard is not None:
        first = _DURATION.match(text)
        return AgeLimit(hard_days=float(hard[1]), soft_days=_days(first) if first else None)
    conditional = re.sub(r"\([^)]*\bwhen\b[^)]*\)", "", text)
    days = [_days(found) for found in _DURATION.finditer(conditional)]
    if any(word in text for word in _UNLIMITED_WORDS) or not text:
        return AgeLimit(hard_days=min(days) if days and "active" in text and "<=" not in text else None)
    if not days:
        raise ValueError("a staleness column holds no duration")
    return AgeLimit(hard_days=min(days))


def _days(found: re.Match[str]) -> float:
    number = float(found["number"])
    return number / HOURS_PER_DAY if found["unit"] == "h" else number
