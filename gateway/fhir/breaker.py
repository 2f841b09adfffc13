"""A circuit breaker per source: after several failed pulls in a row, fail at once for a while, then let one pull try."""

from gateway.clock import Clock


class CircuitBreaker:
    """Closed, open, or half-open. `admit` before a pull, then exactly one of `succeeded`, `failed` or `left`."""

    def __init__(self, clock: Clock, *, failures_max: int, open_s: float) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._open_s = open_s
        self._failures = 0
        self._open_until = 0.0
        self._trial = False

    @property
    def is_open(self) -> bool:
        """Tell whether pulls are refused now."""
        return self._failures >= self._failures_max and (self._trial or self._clock.monotonic() < self._open_until)

    def admit(self) -> bool:
        """Tell whether a pull may start; in the half-open state only one may."""
        if self.is_open:
            return False
        self._trial = self._failures >= self._failures_max
        return True

    def succeeded(self) -> None:
        """The server answered, whatever it said."""
        self._failures = 0
        self._trial = False

    def failed(self) -> None:
        """The server could not be reached, broke down or did not answer in time."""
        self._failures += 1
        self._trial = False
        if self._failures >= self._failures_max:
            self._open_until = self._clock.monotonic() + self._open_s

    def left(self) -> None:
        """The pull ended for a reason that says nothing about the server (the caller went away)."""
        self._trial = False
