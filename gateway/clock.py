"""Clocks: the only source of "now". Pure rooms take an instant as an argument and never ask."""

import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Every instant is timezone-aware UTC."""

    def now(self) -> dt.datetime:
        """Return the current instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never run backwards: for deadlines."""
        ...


class SystemClock:
    """The machine's clock, optionally shifted (the demo runs "ten years later" in a test)."""

    def __init__(self, offset: dt.timedelta = dt.timedelta()) -> None:
        self._offset = offset

    def now(self) -> dt.datetime:
        """Return the current instant plus the offset, aware, in UTC."""
        return dt.datetime.now(dt.UTC) + self._offset

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds; the offset does not apply."""
        return time.monotonic()


class FrozenClock:
    """A clock that stands still until it is moved: the stand-in for tests."""

    def __init__(self, at: dt.datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock's instant needs a time zone")
        self._at = at.astimezone(dt.UTC)
        self._elapsed_s = 0.0

    def now(self) -> dt.datetime:
        """Return the instant at which the clock stands."""
        return self._at

    def monotonic(self) -> float:
        """Return the seconds by which the clock was moved."""
        return self._elapsed_s

    def advance(self, by: dt.timedelta) -> None:
        """Move the clock forward."""
        self._at += by
        self._elapsed_s += by.total_seconds()


class Deadline:
    """One instant by which a request must be answered, handed down to every step (rules 7)."""

    def __init__(self, clock: Clock, budget_s: float) -> None:
        self._clock = clock
        self._ends_at = clock.monotonic() + budget_s

    def remaining_s(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self._ends_at - self._clock.monotonic())
