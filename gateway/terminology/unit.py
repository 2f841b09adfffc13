"""Units: a number in any unit the tables know becomes a number in the concept's preferred unit, or is refused with a reason.

Nothing is parsed or guessed: a unit is either the preferred one, listed for the concept in `concepts.csv`, or mapped to such a unit by
`unit_aliases.csv` (text units and codes that are not valid UCUM). A missing unit is refused; so is a number outside the plausible range.
"""

import enum
import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from gateway.terminology.concept import Concept

Kind = Literal["identity", "convert", "alias"]


class RefusedReason(enum.StrEnum):
    """Why a number is not used."""

    MISSING_UNIT = "missing-unit"
    UNKNOWN_UNIT = "unknown-unit"
    REJECTED_UNIT = "rejected-unit"  # known, and not the same kind of quantity: an eGFR in mL/min
    IMPLAUSIBLE = "implausible"
    NOT_FINITE = "not-finite"
    NOT_NUMERIC = "not-numeric"  # the concept has no unit: its value is a code


class Converted(msgspec.Struct, frozen=True):
    """The number in the preferred unit, and how it got there."""

    value: float
    kind: Kind


class Refused(msgspec.Struct, frozen=True):
    """Why not; `value` is the converted number where there is one (implausible), so that a person can see it."""

    reason: RefusedReason
    value: float | None = None


class Conversion(msgspec.Struct, frozen=True):
    """`preferred = factor * number + offset`; None as factor: the unit is listed to be rejected."""

    factor: float | None
    offset: float
    kind: Kind


class UnitAlias(msgspec.Struct, frozen=True):
    """A spelling and the UCUM unit it stands for; `text_only`: as a UCUM code it would mean something else, or nothing."""

    ucum: str
    text_only: bool


_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"
_FACTOR = re.compile(rf"^(?P<factor>{_NUMBER})(?:\s*\(=(?:1/(?P<divisor>{_NUMBER}))?.*\))?$")
_LINEAR = re.compile(rf"^x\*(?P<factor>{_NUMBER})\+(?P<offset>{_NUMBER})$")
_SHIFTED = re.compile(rf"^\(x-(?P<shift>{_NUMBER})\)\*(?P<up>{_NUMBER})/(?P<down>{_NUMBER})$")
_NOTE = re.compile(r"\s*\((?P<note>[^)]*)\)$")


def parse_conversions(cell: str) -> dict[str, Conversion]:
    """Read `convertible_units_and_factor`: entries `unit:factor`, `unit: x*a+b`, `unit: (x-a)*b/c`, `unit: reject`, joined by `;`.

    `(=1/88.4)` behind a factor is the exact form and wins over the rounded one.

    Raises:
        ValueError: an entry is none of these.
    """
    conversions: dict[str, Conversion] = {}
    for entry in filter(None, (part.strip() for part in cell.split(";"))):
        unit, _, formula = entry.partition(":")
        note = _NOTE.search(unit)
        is_alias = note is not None and "alias" in note["note"]
        conversions[_NOTE.sub("", unit).strip()] = _parse_formula(formula.strip(), is_alias=is_alias)
    return conversions


def _parse_formula(formula: str, *, is_alias: bool) -> Conversion:
    if formula == "reject":
        return Conversion(None, 0.0, "convert")
    if (found := _FACTOR.match(formula)) is not None:
        factor = 1.0 / float(found["divisor"]) if found["divisor"] else float(found["factor"])
        kind: Kind = "alias" if is_alias else "identity" if factor == 1.0 else "convert"
        return Conversion(factor, 0.0, kind)
    if (found := _LINEAR.match(formula)) is not None:
        return Conversion(float(found["factor"]), float(found["offset"]), "convert")
    if (found := _SHIFTED.match(formula)) is not None:
        factor = float(found["up"]) / float(found["down"])
        return Conversion(factor, -float(found["shift"]) * factor, "convert")
    raise ValueError("a conversion has none of the known forms")


class UnitTable(msgspec.Struct, frozen=True, kw_only=True):
    """Per concept: every unit a UCUM code may name, and every unit a text may name."""

    coded: Mapping[str, Mapping[str, Conversion]]
    text: Mapping[str, Mapping[str, Conversion]]

    def convert(self, concept: Concept, value: float, unit: str | None, *, coded: bool) -> Converted | Refused:
        """Return the number in the concept's preferred unit, or why it is refused. `coded`: the unit came as a UCUM code."""
        if concept.unit is None:
            return Refused(RefusedReason.NOT_NUMERIC)
        if not unit:
            return Refused(RefusedReason.MISSING_UNIT)
        conversion = (self.coded if coded else self.text)[concept.name].get(unit)
        if conversion is None:
            return Refused(RefusedReason.UNKNOWN_UNIT)
        if conversion.factor is None:
            return Refused(RefusedReason.REJECTED_UNIT)
        number = value if conversion.factor == 1.0 and not conversion.offset else value * conversion.factor + conversion.offset
        if not math.isfinite(number):
            return Refused(RefusedReason.NOT_FINITE)
        if not concept.plausible(number):
            return Refused(RefusedReason.IMPLAUSIBLE, number)
        return Converted(number, conversion.kind)


def build_unit_table(
    concepts: Iterable[Concept], conversions: Mapping[str, Mapping[str, Conversion]], aliases: Mapping[str, UnitAlias]
) -> UnitTable:
    """Join the concepts' own units with the aliases; a concept's own unit always wins over an alias of the same spelling."""
    coded: dict[str, dict[str, Conversion]] = {}
    text: dict[str, dict[str, Conversion]] = {}
    for concept in concepts:
        own: dict[str, Conversion] = dict(conversions.get(concept.name, {}))
        if concept.unit is not None:
            own[concept.unit] = Conversion(1.0, 0.0, "identity")
        known_as_text = {**_through(aliases, own, text_only=True), **_through(aliases, own, text_only=False), **own}
        coded[concept.name] = {**_through(aliases, own, text_only=False), **own}
        text[concept.name] = known_as_text
    return UnitTable(coded=coded, text=text)


def _through(aliases: Mapping[str, UnitAlias], own: Mapping[str, Conversion], *, text_only: bool) -> dict[str, Conversion]:
    return {
        spelling: Conversion(own[alias.ucum].factor, own[alias.ucum].offset, "alias")
        for spelling, alias in aliases.items()
        if alias.text_only is text_only and alias.ucum in own
    }
