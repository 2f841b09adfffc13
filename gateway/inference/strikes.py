"""What took a worker along again and again (a graph, a row) is left out for a while, so that the others are served. Pure."""

STRIKES_MAX, WITHIN_S, LEFT_OUT_S = 3, 60.0, 30.0


class Strikes:
    """Counts, by key, how often a worker was lost over something; times are readings of one monotonic clock."""

    def __init__(self) -> None:
        self._at: dict[str, list[float]] = {}
        self._left_out: dict[str, float] = {}  # until when

    def strike(self, key: str, now: float) -> None:
        """Note one loss; the third within a minute leaves it out for half of one. What is over is forgotten."""
        self._left_out = {one: until for one, until in self._left_out.items() if until > now}
        self._at = {one: times for one, times in self._at.items() if times[-1] > now - WITHIN_S}
        recent = [*[at for at in self._at.get(key, []) if at > now - WITHIN_S], now]
        if len(recent) < STRIKES_MAX:
            self._at[key] = recent
        else:
            self._at.pop(key, None)
            self._left_out[key] = now + LEFT_OUT_S

    def clear(self, key: str) -> None:
        """Forget the losses over something that has gone well since: only one upon the other is its fault."""
        self._at.pop(key, None)

    def leaves_out(self, key: str, now: float) -> bool:
        """Tell whether it is left out now."""
        return self._left_out.get(key, 0.0) > now

    def leave_out_any(self, now: float) -> bool:
        """Tell whether anything is: a quick question before every row."""
        return any(until > now for until in self._left_out.values())
