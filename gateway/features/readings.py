"""Numbers of one concept: which are usable, which are not and why, and which wins (rules 3).

The rule for different numbers at the same instant, which never looks at the order of the record:
1. Numbers that agree are one reading. Equal numbers in one unit agree; numbers in different units agree when they differ by at most
   1 % after conversion (one result reported twice, rounded). The one in the concept's unit stands for them, then the smallest id.
2. Else the corrected or amended ones win over the final ones.
3. Else the newest issued ones win; one without an issued time loses.
4. Else nothing wins: the input is INCONSISTENT. Numbers are never averaged to end a conflict.
A conflict that was decided is still shown: CAUTION:conflict.
"""

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from gateway.record.values import FhirTime, Measurement, Precision
from gateway.terminology import Refused, RefusedReason, Terminology

ROUNDING_TOLERANCE = 0.01  # relative: one result in mg/dL and in mmol/L, each rounded by the laboratory
RETRACTED_STATUSES = frozenset({"cancelled", "entered-in-error"})  # never said, so nothing newer to warn of
END_OF_TIME = dt.datetime.max.replace(tzinfo=dt.UTC)
_REFUSED_WORDS = {RefusedReason.UNKNOWN_UNIT: "unknown unit", RefusedReason.MISSING_UNIT: "no unit"}
CORRECTING_STATUSES = frozenset({"amended", "corrected"})


class Reading(msgspec.Struct, frozen=True):
    """A usable number in the concept's unit, with the measurement it came from and its time."""

    value: float
    at: dt.datetime
    source: Measurement


class Unusable(msgspec.Struct, frozen=True):
    """A measurement that cannot be used, and why. `value` is set where it could be converted; `implausible` where that is the reason."""

    why: str
    at: dt.datetime | None
    source: Measurement
    value: float | None = None
    implausible: bool = False


class Readings(msgspec.Struct, frozen=True):
    """All numbers of a concept: newest first, ties by resource id."""

    usable: tuple[Reading, ...]
    unusable: tuple[Unusable, ...]


class Choice(msgspec.Struct, frozen=True):
    """What the rule for one instant gave: `reading` None when nothing wins; `rivals` are the other numbers of that instant."""

    reading: Reading | None
    rivals: tuple[Reading, ...] = ()


def sort_readings(concept: str, measurements: Iterable[Measurement], terminology: Terminology) -> Readings:
    """Convert and sort a concept's measurements. Retracted and valueless ones are left out altogether."""
    usable: list[Reading] = []
    unusable: list[Unusable] = []
    for measurement in measurements:
        if measurement.status in RETRACTED_STATUSES:
            continue
        read = _read(concept, measurement, terminology)
        if type(read) is Reading:
            usable.append(read)
        elif type(read) is Unusable:
            unusable.append(read)
    if len(usable) > 1:
        usable.sort(key=_newest_first)
    if len(unusable) > 1:
        unusable.sort(key=lambda item: (-item.at.timestamp() if item.at else math.inf, item.source.source.id))
    return Readings(tuple(usable), tuple(unusable))


def _newest_first(reading: Reading) -> tuple[float, str, float]:
    return (-reading.at.timestamp(), reading.source.source.id, reading.value)


def _read(concept: str, measurement: Measurement, terminology: Terminology) -> Reading | Unusable | None:
    """Return the measurement as a usable number, as an unusable one, or None where it says nothing."""
    time = measurement.time
    at = time.at if time is not None else None
    if measurement.value is None:
        if measurement.value_text is None and not measurement.value_codes:
            return None
        return Unusable("not a number", at, measurement)
    converted = terminology.convert(concept, measurement.value, measurement.unit, coded=measurement.unit_coded)
    if not measurement.usable_status:
        return Unusable(f"status {measurement.status}", at, measurement, converted.value)
    if measurement.comparator is not None:
        return Unusable(f"only a bound ({measurement.comparator})", at, measurement, converted.value)
    if isinstance(converted, Refused):
        return Unusable(_REFUSED_WORDS.get(converted.reason, converted.reason.value), at, measurement, converted.value,
                        converted.reason is RefusedReason.IMPLAUSIBLE)
    if at is None:
        return Unusable("undated", at, measurement, converted.value)
    return Reading(converted.value, at, measurement)


def choose_at_instant(readings: Sequence[Reading]) -> Choice:
    """Apply the rule of this module to the readings of one instant."""
    if len(readings) == 1:
        return Choice(readings[0])
    for keep in (_all, _correcting, _newest_issued):
        kept = keep(readings)
        if kept and _agree(kept):
            chosen = min(kept, key=_representative)
            rivals = tuple(sorted((r for r in readings if not _agree((r, chosen))), key=_newest_first))
            return Choice(chosen, rivals)
    return Choice(None, tuple(sorted(readings, key=_newest_first)))


def _all(readings: Sequence[Reading]) -> Sequence[Reading]:
    return readings


def _correcting(readings: Sequence[Reading]) -> Sequence[Reading]:
    return [reading for reading in readings if reading.source.status in CORRECTING_STATUSES]


def _newest_issued(readings: Sequence[Reading]) -> Sequence[Reading]:
    """Among the correcting ones where there are any, else among all, those issued last."""
    pool = _correcting(readings) or readings
    issued = [(reading.source.issued.at, reading) for reading in pool if reading.source.issued is not None]
    newest = max((at for at, _ in issued), default=None)
    return [reading for at, reading in issued if at == newest]


def _agree(readings: Sequence[Reading]) -> bool:
    by_unit: dict[str | None, float] = {}
    for reading in readings:
        raw = reading.source.value
        if raw is not None and by_unit.setdefault(reading.source.unit, raw) != raw:
            return False
    values = [reading.value for reading in readings]
    return max(values) - min(values) <= ROUNDING_TOLERANCE * max(abs(value) for value in values)


def _representative(reading: Reading) -> tuple[bool, str, float]:
    return (reading.value != reading.source.value, reading.source.source.id, reading.value)


def newest(readings: Sequence[Reading]) -> Choice | None:
    """Return the choice at the newest instant, or None where there is no reading. `readings` are newest first."""
    if not readings:
        return None
    if len(readings) == 1 or readings[0].at != readings[1].at:
        return Choice(readings[0])
    return choose_at_instant([reading for reading in readings if reading.at == readings[0].at])


def newest_choices(readings: Sequence[Reading], count: int) -> tuple[Choice, ...]:
    """Return the choices at the `count` newest instants."""
    found: list[Choice] = []
    for _, same in groupby(readings, key=lambda reading: reading.at):
        found.append(choose_at_instant(list(same)))
        if len(found) == count:
            break
    return tuple(found)


def newer_unusable(readings: Readings, than: dt.datetime) -> Unusable | None:
    """Return the newest unusable measurement that is later than the value used, if there is one. An undated one is not later."""
    for item in readings.unusable:
        if item.at is not None and item.at > than:
            return item
    return None


def calendar_date(time: FhirTime | None) -> str | None:
    """Return the date in the offset the time was given in, as `YYYY-MM-DD`; None for a time known only to month or year."""
    if time is None or time.precision in (Precision.YEAR, Precision.MONTH):
        return None
    return time.text[:10]


def last_instant(time: FhirTime) -> dt.datetime:
    """Return the end of the period that a partial date names (exclusive); an instant is its own end."""
    at = time.at
    try:
        if time.precision is Precision.INSTANT:
            return at
        if time.precision is Precision.DAY:
            return at + dt.timedelta(days=1)
        if time.precision is Precision.MONTH:
            return at.replace(year=at.year + 1, month=1) if at.month == 12 else at.replace(month=at.month + 1)
        return at.replace(year=at.year + 1)
    except (ValueError, OverflowError):  # "9999-12-31", the usual word for "no end"
        return END_OF_TIME
