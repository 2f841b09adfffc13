"""Limits on JSON that comes from outside, checked before anything is decoded: size, nesting, and keys that stand twice.

Nothing here walks over the bytes in Python. All characters that do not matter are deleted in one step; what is left are quotes and
brackets, a few per cent of the body. Two neighbouring quotes are an empty string: taking both out leaves every bracket inside or
outside of a string as it was.
"""

import msgspec

from gateway.errors import BadRequest, ErrorCode, TooLarge

DEPTH_MAX = 64  # FHIR resources nest to about 12; contained resources and extensions add a few
BYTES_MAX = 20_000_000
_STRUCTURE = b'"[]{}'
_MEMBERS = b'":'
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))
_NOT_MEMBERS = bytes(set(range(256)) - set(_MEMBERS))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_JSON = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


def check_json(raw: bytes, *, bytes_max: int = BYTES_MAX, depth_max: int = DEPTH_MAX) -> None:
    """Refuse a body that is too large or nested too deep. Whether it is JSON at all is left to the decoder.

    Raises:
        TooLarge: more than `bytes_max` bytes (code body-too-large), or objects and arrays nested deeper than `depth_max` (body-too-deep).
    """
    if len(raw) > bytes_max:
        raise TooLarge(ErrorCode.BODY_TOO_LARGE, "The body is too large.")
    if _is_deeper(raw, depth_max):
        raise TooLarge(ErrorCode.BODY_TOO_DEEP, "The body is nested too deep.")


def reject_duplicate_keys(raw: bytes) -> None:
    """Refuse JSON in which some object has the same key twice: two readers could take different values from it.

    Exact for valid JSON: the decoder keeps one of two equal keys, so the decoded document has fewer members than the text. Costs one
    untyped decoding and encoding, about four times `check_json`: for envelopes, where an identity or a target stands, rather than for
    whole records.

    Raises:
        BadRequest: a key stands twice, or the body is not JSON (code malformed-json).
    """
    try:
        kept = _ENCODER.encode(_JSON.decode(raw))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(ErrorCode.MALFORMED_JSON, "The body is not valid JSON.") from error
    if _count_members(raw) != _count_members(kept):
        raise BadRequest(ErrorCode.MALFORMED_JSON, "The body holds a key twice in one object.")


def _is_deeper(raw: bytes, depth_max: int) -> bool:
    """Tell whether brackets outside strings nest deeper: each round takes out the innermost ones, so the rounds count the depth."""
    left = _outside_strings(raw, _NOT_STRUCTURE).translate(_AS_SQUARE)
    for _ in range(depth_max):
        shorter = left.replace(b"[]", b"")
        if len(shorter) == len(left):
            break
        left = shorter
    return b"[]" in left or left.count(b"[") > depth_max  # the second: brackets that nobody closes


def _count_members(raw: bytes) -> int:
    return _outside_strings(raw, _NOT_MEMBERS).count(b":")


def _outside_strings(raw: bytes, delete: bytes) -> bytes:
    """Return the characters that are not deleted and stand outside strings, in order."""
    if b"\\" in raw:  # first the escaped backslashes, then the escaped quotes: what remains are quotes that open or close
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    left = raw.translate(None, delete).replace(b'""', b"")
    return left if b'"' not in left else b"".join(left.split(b'"')[::2])
