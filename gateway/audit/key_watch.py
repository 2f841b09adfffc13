"""The state of a key service that may be slow, asked beside the event loop: readiness answers at once, also when the service does not."""

import threading
import time
from collections.abc import Callable

from gateway.audit.kms import KmsHealth

REFRESH_S = 15.0  # how old a state may be before it is asked for again


class KeyWatch:
    """Returns the last known state; where that is old, asks again in a thread of its own, one at a time."""

    def __init__(self, ask: Callable[[], KmsHealth], *, refresh_s: float = REFRESH_S) -> None:
        self._ask = ask
        self._refresh_s = refresh_s
        self._last = KmsHealth(usable=True)  # the service was asked when it was opened
        self._asked_at = time.monotonic()
        self._lock = threading.Lock()

    def health(self) -> KmsHealth:
        """Return what the service said last."""
        if time.monotonic() - self._asked_at >= self._refresh_s and self._lock.acquire(blocking=False):
            self._asked_at = time.monotonic()
            threading.Thread(target=self._refresh, name="key-watch", daemon=True).start()
        return self._last

    def _refresh(self) -> None:
        try:
            self._last = self._ask()
        finally:
            self._lock.release()
