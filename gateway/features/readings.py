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
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gateway.record.values import FhirTime, Measurement, Precision
from gateway.terminology import Refused, RefusedReason, Terminology

ROUNDING_TOLERANCE = 0.01  # relative: one result in mg/dL and in mmol/L, each rounded by the laboratory
RETRACTED_STATUSES = frozenset({"cancelled", "entered-in-error"})  # never said, so nothing newer to warn of
MONTHS_PER_YEAR = 12
BEGIN_OF_TIME = dt.datetime.min.replace(tzinfo=dt.UTC)
END_OF_TIME = dt.datetime.max.replace(tzinfo=dt.UTC)
_REFUSED_WORDS = {RefusedReason.UNKNOWN_UNIT: "unknown unit", RefusedReason.MISSING_UNIT: "no unit"}
CORRECTING_STATUSES = frozenset({"amended", "corrected"})


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A usable number in the concept's unit, with the measurement it came from and its time."""

    value: float
    at: dt.datetime
    source: Measurement


class Unusable(msgspec.Struct, frozen=True, gc=False):
    """A measurement that cannot be used, and why. `value` is set where it could be converted; `implausible` where that is the reason."""

    why: str
    at: dt.datetime | None
    source: Measurement
    value: float | None = None
    implausible: bool = False


class Readings:
    """The numbers of one concept, newest first, converted only as far as somebody looks: most questions end at the newest."""

    def __init__(self, concept: str, measurements: Iterable[Measurement], terminology: Terminology) -> None:
        self._concept = concept
        self._terminology = terminology
        self._pending = iter(sorted(measurements, key=measured_at, reverse=True))
        self._usable: list[Reading] = []
        self._unusable: list[Unusable] = []

    def usable(self) -> Iterator[Reading]:
        """Yield the usable numbers, newest first. The order within one instant means nothing."""
        place = 0
        while place < len(self._usable) or self._read_next():
            if place < len(self._usable):
                yield self._usable[place]
                place += 1

    def any_usable(self) -> bool:
        """Tell whether there is a usable number at all."""
        return next(self.usable(), None) is not None

    def at_instant(self, at: dt.datetime) -> list[Reading]:
        """Return the usable numbers of one instant."""
        found: list[Reading] = []
        for reading in self.usable():
            if reading.at < at:
                break
            if reading.at == at:
                found.append(reading)
        return found

    def unusable(self) -> list[Unusable]:
        """Return everything unusable that was met so far, newest first, ties by resource id, undated ones last."""
        return sorted(self._unusable, key=_unusable_order)

    def newer_unusable(self, than: dt.datetime) -> Unusable | None:
        """Return the newest unusable measurement later than the value used, if there is one. An undated one is not later."""
        if not self._unusable:
            return None
        return next((item for item in self.unusable() if item.at is not None and item.at > than), None)

    def _read_next(self) -> bool:
        measurement = next(self._pending, None)
        if measurement is None:
            return False
        read = _read(self._concept, measurement, self._terminology)
        if type(read) is Reading:
            self._usable.append(read)
        elif type(read) is Unusable:
            self._unusable.append(read)
        return True


def measured_at(measurement: Measurement) -> dt.datetime:
    """Return the measured instant; an undated one sorts as the oldest."""
    return measurement.time.at if measurement.time is not None else BEGIN_OF_TIME


def _unusable_order(item: Unusable) -> tuple[float, str, str]:
    return (-item.at.timestamp() if item.at is not None else math.inf, item.source.source.id, item.why)


class Choice(msgspec.Struct, frozen=True, gc=False):
    """What the rule for one instant gave: `reading` None when nothing wins; `rivals` are the other numbers of that instant."""

    reading: Reading | None
    rivals: tuple[Reading, ...] = ()


def _newest_first(reading: Reading) -> tuple[float, str, float]:
    return (-reading.at.timestamp(), reading.source.source.id, reading.value)


def _read(concept: str, measurement: Measurement, terminology: Terminology) -> Reading | Unusable | None:
    """Return the measurement as a usable number, as an unusable one, or None where it says nothing or was retracted."""
    if measurement.status in RETRACTED_STATUSES:
        return None
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
        return Unusable(
            _REFUSED_WORDS.get(converted.reason, converted.reason.value),
            at,
            measurement,
            converted.value,
            converted.reason is RefusedReason.IMPLAUSIBLE,
        )
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


def newest(readings: Readings) -> Choice | None:
    """Return the choice at the newest instant, or None where there is no usable reading."""
    same: list[Reading] = []
    for reading in readings.usable():
        if same and reading.at != same[0].at:
            break
        same.append(reading)
    return choose_at_instant(same) if same else None


def newest_choices(readings: Iterable[Reading], count: int) -> tuple[Choice, ...]:
    """Return the choices at the `count` newest instants. `readings` are newest first."""
    found: list[Choice] = []
    same: list[Reading] = []
    for reading in readings:
        if same and reading.at != same[0].at:
            found.append(choose_at_instant(same))
            if len(found) == count:
                return tuple(found)
            same = []
        same.append(reading)
    return (*found, choose_at_instant(same)) if same else tuple(found)


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
            years, month = divmod(at.month, MONTHS_PER_YEAR)
            return at.replace(year=at.year + years, month=month + 1)
        return at.replace(year=at.year + 1)
    except (ValueError, OverflowError):  # "9999-12-31", the usual word for "no end"
        return END_OF_TIME
