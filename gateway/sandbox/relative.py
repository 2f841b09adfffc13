"""Relative dates in fixtures, so that synthetic patients do not age.

    {{now-34d}}               an instant, UTC, to the second
    {{now-55y-120d|date}}     a date
    {{now-55y|year}}          a year; also `month`

Steps: y and mo (calendar years and months, day clamped), w, d, h, min. Pure: "now" is an argument.
"""

import calendar
import datetime as dt
import re

_TOKEN = re.compile(r"\{\{\s*now((?:[+-]\d{1,5}(?:y|mo|w|d|h|min))*)\s*(?:\|\s*(date|month|year)\s*)?\}\}")
_STEP = re.compile(r"([+-])(\d+)(y|mo|w|d|h|min)")
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "min": "minutes"}
_FORMS = {"": "%Y-%m-%dT%H:%M:%SZ", "date": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


def render_dates(text: str, now: dt.datetime) -> str:
    """Return the text with every relative date replaced. Raises ValueError when something that looks like one is not."""
    rendered = _TOKEN.sub(lambda token: _render(token, now), text)
    if "{{" in rendered:
        raise ValueError("a relative date is misspelt")
    return rendered


def _render(token: re.Match[str], now: dt.datetime) -> str:
    at = now.astimezone(dt.UTC)
    for sign, digits, unit in _STEP.findall(token.group(1)):
        at = _step(at, int(digits) if sign == "+" else -int(digits), unit)
    return at.strftime(_FORMS[token.group(2) or ""])


def _step(at: dt.datetime, count: int, unit: str) -> dt.datetime:
    if unit in _UNITS:
        return at + dt.timedelta(**{_UNITS[unit]: count})
    months = at.year * 12 + at.month - 1 + (count * 12 if unit == "y" else count)
    year, month = divmod(months, 12)
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)
