"""Encounters: is the chart in use, which one is open, in which setting was something measured (rules 3 and 4)."""

import calendar
import datetime as dt
from collections.abc import Iterable

import msgspec

from gateway.features.readings import END_OF_TIME, last_instant
from gateway.record.values import Measurement, Stay

NEVER_HAPPENED = frozenset({"planned", "cancelled", "entered-in-error"})  # FHIR R4 EncounterStatus
GOING_ON = frozenset({"arrived", "triaged", "in-progress", "onleave"})
CHART_IN_USE_MONTHS = 24  # clinical/README.md rule 5; rules 3 "Absence"
_ACUTENESS = ("ed", "inpatient", "ambulatory")  # where several are open, the one with the strictest age limits decides


def chart_in_use(stays: tuple[Stay, ...], as_of: dt.datetime) -> bool:
    """Tell whether an Encounter touched the 24 months before the as-of time. One that was never closed counts by its start only."""
    since = months_before(as_of, CHART_IN_USE_MONTHS)
    for stay in stays:
        if stay.status in NEVER_HAPPENED or (stay.start is not None and stay.start.at > as_of):
            continue
        last = stay.end or stay.start
        if last is not None and last_instant(last) > since:
            return True
    return False


def months_before(at: dt.datetime, months: int) -> dt.datetime:
    """Return the instant that many calendar months earlier (29 February becomes the 28th)."""
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    return at.replace(year=year, month=month + 1, day=min(at.day, calendar.monthrange(year, month + 1)[1]))


def open_setting(stays: tuple[Stay, ...], as_of: dt.datetime) -> str | None:
    """Return the care setting of the Encounter that is open at the as-of time, or None where none is, or none says."""
    settings = {stay.setting for stay in stays if _is_open(stay, as_of)}
    return next((setting for setting in _ACUTENESS if setting in settings), None)


def _is_open(stay: Stay, as_of: dt.datetime) -> bool:
    """Tell whether a stay is open. One that is going on without a word on when it began is open: nobody may read it as ambulatory."""
    if stay.status in NEVER_HAPPENED or (stay.start is not None and stay.start.at > as_of):
        return False
    return last_instant(stay.end) > as_of if stay.end is not None else stay.status in GOING_ON


class FoundStay(msgspec.Struct, frozen=True):
    """A stay with both ends; an open one ends at the as-of time."""

    stay: Stay
    start: dt.datetime
    end: dt.datetime


def index_stay(classes: Iterable[str], ended_days_max: float, all_stays: tuple[Stay, ...], as_of: dt.datetime) -> FoundStay | None:
    """Return the stay a model of discharge is about, None where there is none, or where it has no beginning.

    The one that began last: an old one that nobody ever closed is still open by its letter, and must not hide it.
    """
    since = as_of - dt.timedelta(days=ended_days_max)
    stays = [stay for stay in dated_stays(all_stays, classes, as_of) if stay.end >= since]
    return max(stays, key=lambda stay: (stay.start, stay.end, stay.stay.source.id), default=None)


def dated_stays(stays: Iterable[Stay], classes: Iterable[str], as_of: dt.datetime) -> list[FoundStay]:
    """Return the dated stays of these classes; one that still goes on ends now."""
    return [
        FoundStay(stay, stay.start.at, min(last_instant(stay.end), as_of) if stay.end is not None else as_of)
        for stay in stays
        if stay.class_code in classes and stay.start is not None and (stay.end is not None or stay.status in GOING_ON)
    ]


class StayIndex:
    """The stays by id, and those that cover a time: asked once per reading."""

    def __init__(self, stays: tuple[Stay, ...]) -> None:
        self._settings = {stay.source.id: stay.setting for stay in stays}
        self._acute = [stay for stay in stays if stay.setting in ("ed", "inpatient")]

    def setting_of(self, measurement: Measurement) -> str | None:
        """Return where something was measured: by its own Encounter, else by an ED or inpatient one that covers its time, else None."""
        if measurement.encounter_id is not None:
            own = self._settings.get(measurement.encounter_id)
            if own is not None:
                return own
        return next((stay.setting for stay in self._acute if _covers(stay, measurement)), None)


def _covers(stay: Stay, measurement: Measurement) -> bool:
    """Tell whether the stay and the measured time overlap; a time known to the day is the whole day."""
    if measurement.time is None or stay.start is None or stay.status in NEVER_HAPPENED:
        return False
    is_open = stay.end is None and stay.status in GOING_ON
    until = END_OF_TIME if is_open else last_instant(stay.end or stay.start)
    measured_until = max(measurement.time.at, last_instant(measurement.time) - dt.timedelta.resolution)
    return stay.start.at <= measured_until and measurement.time.at < until
