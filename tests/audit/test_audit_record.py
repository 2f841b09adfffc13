"""What a record's header may hold, and that it is canonical."""

import datetime as dt
import re
from collections.abc import Callable

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.record import HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, EventType, RecordDraft, RidMaker, check_facts, encode_header
from gateway.identity import Caller, TenantId

FACT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)
NUMBER = st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@given(st.dictionaries(st.from_regex(r"[a-z_0-9]{1,20}", fullmatch=True), FACT | NUMBER, max_size=30))
def test_a_header_is_canonical_json(fields: dict[str, str | int]) -> None:
    """Whatever a header may hold is written byte for byte as RFC 8785 says, according to another implementation."""
    check_facts(fields)
    assert encode_header(fields) == rfc8785.dumps(fields)


@pytest.mark.parametrize("value", ["Ångström", "line\nbreak", "tab\t", "\x7f", "nul\x00", "x" * 1025, 2**53, -(2**53), True])
def test_a_fact_that_could_be_written_in_two_ways_is_refused(value: str | int) -> None:
    """Only printable ASCII of bounded length and safe integers stand in a header."""
    with pytest.raises(ValueError, match="the header field x"):
        check_facts({"x": value})


def test_a_header_is_at_most_4_kib() -> None:
    """A longer header is refused, one of exactly the limit is not."""
    fixed = len(encode_header({"a": ""}))
    assert len(encode_header({"a": "x" * (HEADER_BYTES_MAX - fixed)})) == HEADER_BYTES_MAX
    with pytest.raises(ValueError, match="4096"):
        encode_header({"a": "x" * (HEADER_BYTES_MAX - fixed + 1)})


def test_a_record_without_an_actor_cannot_be_built() -> None:
    """Neither without a caller, nor with an empty one."""
    with pytest.raises(TypeError, match="caller"):
        RecordDraft(type=EventType.ACCESS, request_id="r1")  # type: ignore[call-arg]  that it does not type-check is the point
    with pytest.raises(TypeError, match="actor"):
        RecordDraft(type=EventType.ACCESS, request_id="r1", caller=None)  # type: ignore[arg-type]  as above
    with pytest.raises(ValueError, match="client id"):
        Caller(client_id="", tenant=TenantId("ward"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("request_id", ""), ("request_id", "né"), ("patient_id", ""), ("model_id", "a\nb"), ("rid", "1"), ("verdict", "x" * 2000)],
)
def test_a_draft_refuses_what_no_header_may_hold(make_draft: Callable[..., RecordDraft], field: str, value: str) -> None:
    """The caller hears of it when it makes the draft, not when the record is written."""
    with pytest.raises(ValueError, match=r"id|header field"):
        make_draft(**{field: value})


def test_the_user_and_the_patient_stand_in_no_fact(make_draft: Callable[..., RecordDraft]) -> None:
    """The clear part that a draft contributes holds neither."""
    text = repr(make_draft(patient_id="pat-secret").facts())
    assert "pat-secret" not in text
    assert "dr-x" not in text


def test_a_payload_has_a_limit(make_draft: Callable[..., RecordDraft]) -> None:
    """One byte more than the limit is refused."""
    assert len(make_draft(payload=b"x" * PAYLOAD_BYTES_MAX).payload_bytes()) == PAYLOAD_BYTES_MAX
    with pytest.raises(ValueError, match="at most"):
        make_draft(payload=b"x" * (PAYLOAD_BYTES_MAX + 1)).payload_bytes()


def test_record_ids_are_version_7_and_grow() -> None:
    """Ids have the form of RFC 9562 and grow even when the clock stands still or runs backwards."""
    maker = RidMaker()
    rids = [maker.make(AT) for _ in range(2000)]
    rids += [maker.make(AT - dt.timedelta(hours=1)) for _ in range(10)]
    rids += [maker.make(AT + dt.timedelta(milliseconds=number)) for number in range(2000)]
    assert rids == sorted(set(rids))
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", rid) for rid in rids)
    assert int(rids[0].replace("-", "")[:12], 16) == int(AT.timestamp() * 1000)
