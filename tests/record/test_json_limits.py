"""Limits on JSON from outside: exact, whatever strings and escapes stand in it."""
# ruff: noqa: FBT001 - flags are columns of the tables

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, ErrorCode, TooLarge
from gateway.record.strict_json import DEPTH_MAX, check_json, reject_duplicate_keys

TRICKY = st.text(alphabet='[]{}":,\\ab\n\u2028é', max_size=8)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=30,
)


def depth(document: object) -> int:
    """Return the nesting by walking: the slow, obvious way."""
    if isinstance(document, dict):
        return 1 + max((depth(value) for value in document.values()), default=0)
    if isinstance(document, list):
        return 1 + max((depth(value) for value in document), default=0)
    return 0


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 2]))
def test_the_depth_is_exact(document: object, ascii_only: bool, indent: int | None) -> None:
    """A document passes at its own depth and fails one below it."""
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    deep = depth(document)
    check_json(raw, depth_max=max(deep, 1))
    if deep > 1:
        with pytest.raises(TooLarge) as caught:
            check_json(raw, depth_max=deep - 1)
        assert caught.value.code is ErrorCode.BODY_TOO_DEEP


@given(DOCUMENTS)
def test_a_document_without_double_keys_passes(document: object) -> None:
    """Escapes and strings full of colons are no keys."""
    reject_duplicate_keys(json.dumps(document).encode())
    reject_duplicate_keys(json.dumps(document, ensure_ascii=False, indent=1).encode())


@given(DOCUMENTS, TRICKY)
def test_a_double_key_anywhere_is_refused(document: object, key: str) -> None:
    """At the top or inside, and when one of the two is written with escapes."""
    name, value = json.dumps(key), json.dumps(document)
    escaped = '"' + "".join(f"\\u{ord(letter):04x}" for letter in key) + '"'
    for first, second in ((name, name), (name, escaped)):
        for text in (f"{{{first}:{value},{second}:1}}", f'[{{"x":{{{first}:1,{second}:{value}}}}}]'):
            with pytest.raises(BadRequest) as caught:
                reject_duplicate_keys(text.encode())
            assert caught.value.code is ErrorCode.MALFORMED_JSON


@pytest.mark.parametrize("raw", [b"[" * 1_000_000, b'{"a":' * 500_000, b"[" * 65 + b"]" * 65, b'["\\"' + b"[" * 9])
def test_a_flood_of_brackets_is_refused_or_left_to_the_decoder(raw: bytes) -> None:
    """Closed or not: never a crash; inside a string they are only text."""
    if raw.startswith(b'["'):
        check_json(raw)
    else:
        with pytest.raises(TooLarge):
            check_json(raw)


def test_the_size_is_bounded() -> None:
    """One byte more than allowed."""
    check_json(b'"123456"', bytes_max=8)
    with pytest.raises(TooLarge) as caught:
        check_json(b'"1234567"', bytes_max=8)
    assert caught.value.code is ErrorCode.BODY_TOO_LARGE
    assert DEPTH_MAX == 64


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"a":1', b"[" * 100_000])
def test_what_is_no_json_has_no_keys_to_check(raw: bytes) -> None:
    """Malformed, with the code for it."""
    with pytest.raises(BadRequest):
        reject_duplicate_keys(raw)
