"""FHIR dates and times: read strictly, kept with their precision.

A partial date counts from its first instant (rules 3), taken in UTC because FHIR gives it no zone. A dateTime with a clock time but no zone
is not valid FHIR and could be off by half a day: only its date is believed.
"""

import datetime as dt

from gateway.record.values import FhirTime, Precision

_DATE_LENGTH = 10
_YEAR_LENGTH = 4
_MONTH_LENGTH = 7
_UTC = dt.UTC
_INSTANT = Precision.INSTANT
_FROM_ISO = dt.datetime.fromisoformat


def parse_time(text: str | None) -> FhirTime | None:
    """Return the time, or None when there is none or it cannot be read (a wrong month, a leap second, an ISO week)."""
    if not text:
        return None
    try:
        if len(text) <= _DATE_LENGTH:
            return _parse_partial(text)
        # Python also reads ISO weeks, times without colons and other marks between date and time: these are no FHIR.
        if text[10] != "T" or text[7] != "-" or text[13:14] != ":":
            return None
        at = _FROM_ISO(text)
        zone = at.tzinfo
        if zone is None:
            return FhirTime(_midnight(text[:_DATE_LENGTH]), Precision.DAY, text)
        return FhirTime(at if zone is _UTC else at.astimezone(_UTC), _INSTANT, text)
    except (ValueError, OverflowError):  # OverflowError: year 1 or 9999 moved by its zone
        return None


def _parse_partial(text: str) -> FhirTime | None:
    if len(text) == _DATE_LENGTH and text[4] == "-" and text[7] == "-":
        return FhirTime(_midnight(text), Precision.DAY, text)
    if len(text) == _MONTH_LENGTH and text[4] == "-":
        return FhirTime(_midnight(f"{text}-01"), Precision.MONTH, text)
    if len(text) == _YEAR_LENGTH:
        return FhirTime(_midnight(f"{text}-01-01"), Precision.YEAR, text)
    return None


def _midnight(date: str) -> dt.datetime:
    digits = date.replace("-", "")
    if not (digits.isdecimal() and digits.isascii()):  # fromisoformat also reads ISO weeks
        raise ValueError("not a calendar date")
    return _FROM_ISO(date).replace(tzinfo=_UTC)
