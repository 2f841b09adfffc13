"""Waiting, bounding and giving up, decided without a network."""

import datetime as dt
import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import FrozenClock
from gateway.fhir.breaker import CircuitBreaker
from gateway.fhir.inflate import BodyRefused, BoundedBody
from gateway.fhir.limits import FhirLimits
from gateway.fhir.retry import parse_retry_after, wait_s

NOW = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Tue, 24 Nov 2026 08:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 07:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 400, None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header, seconds):
    """Seconds and HTTP-date (RFC 9110 10.2.3); anything else counts as not sent."""
    assert parse_retry_after(header, NOW) == seconds


@given(st.integers(1, 50), st.integers(0, 2**32))
def test_a_pause_without_advice_is_jittered_and_bounded(attempt, seed):
    """Never longer than the limit, whatever the attempt."""
    limits = FhirLimits()
    assert 0 <= wait_s(attempt, None, limits, random.Random(seed)) <= limits.backoff_s_max


@given(st.floats(0, 1e6))
def test_advice_is_never_cut_short(asked):
    """The server's own time is waited for in full."""
    assert wait_s(1, asked, FhirLimits(), random.Random(1)) >= asked


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_a_body_arrives_as_it_was_sent_however_it_is_cut(body, step):
    """Plain and compressed bodies come out whole, whatever the pieces."""
    for encoding, wire in (("", body), ("gzip", gzip.compress(body))):
        bounded = BoundedBody(encoding, bytes_max=10_000, ratio_max=100)
        for start in range(0, len(wire), step):
            bounded.feed(wire[start : start + step])
        assert bounded.finish() == body


def test_a_large_compressed_body_comes_out_whole():
    """Several internal pieces, none lost, when one network piece holds all of it."""
    body = random.Random(5).randbytes(50_000) * 40
    bounded = BoundedBody("gzip", bytes_max=3_000_000, ratio_max=1000)
    bounded.feed(gzip.compress(body))
    assert bounded.finish() == body


@pytest.mark.parametrize(("limit", "ratio"), [(1_500_000, 10_000), (10_000_000, 20)])
def test_a_bomb_is_refused_before_it_is_unpacked(limit, ratio):
    """Neither the size nor the ratio may be exceeded, and no more than the limit is ever held."""
    bounded = BoundedBody("gzip", bytes_max=limit, ratio_max=ratio)
    with pytest.raises(BodyRefused):
        bounded.feed(gzip.compress(b"\0" * 50_000_000))
    assert bounded._size <= limit + 2**18


def test_the_circuit_opens_closes_and_lets_one_through():
    """Closed, open after the third failure, half-open after the pause for a single pull, closed after its success."""
    clock = FrozenClock(NOW)
    breaker = CircuitBreaker(clock, failures_max=3, open_s=10)
    for _ in range(3):
        assert breaker.admit()
        breaker.failed()
    assert not breaker.admit()
    clock.advance(dt.timedelta(seconds=11))
    assert breaker.admit()
    assert not breaker.admit()
    breaker.left()
    assert breaker.admit()
    breaker.failed()
    assert not breaker.admit()
    clock.advance(dt.timedelta(seconds=11))
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.admit()
    assert breaker.admit()


@pytest.mark.parametrize(("remaining", "budget"), [(0.5, 0.4), (10.0, 9.5), (0.0, 0.0), (1.0, 0.8)])
def test_a_pull_leaves_time_for_the_answer(remaining, budget):
    """A fifth of a short deadline, half a second of a long one."""
    assert FhirLimits().budget_s(remaining) == pytest.approx(budget)


@pytest.mark.parametrize("bad", [{"pages_max": 0}, {"connect_s_max": -1.0}, {"reserve_share_max": 1.0}])
def test_a_limit_that_limits_nothing_is_refused(bad):
    """Zero and negative limits are mistakes of configuration."""
    with pytest.raises(ValueError, match="limit"):
        FhirLimits(**bad)
