"""When to try a read again, decided without a clock or a socket."""

import datetime as dt
import email.utils
import random

from gateway.fhir.limits import FhirLimits

# 408 and 429 ask for it; 500 and 502 to 504 pass on busy servers and proxies. 501 and the rest of 4xx do not change by asking again.
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_DIGITS_MAX = 9


def parse_retry_after(value: str | None, now: dt.datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for (RFC 9110 10.2.3: seconds or an HTTP-date); None when absent or not readable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _DIGITS_MAX else None
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return max(0.0, (at - now).total_seconds())


def wait_s(attempt: int, asked_s: float | None, limits: FhirLimits, randomness: random.Random) -> float:
    """Return how long to wait before the next attempt (`attempt` counts from 1).

    What the server asks for is honoured in full, with a little on top so that callers do not return together; otherwise full jitter
    over an exponentially growing span.
    """
    if asked_s is not None:
        return asked_s + randomness.uniform(0.0, limits.backoff_s_first)
    return randomness.uniform(0.0, min(limits.backoff_s_max, limits.backoff_s_first * 2.0 ** (attempt - 1)))
