"""The envelope of a request: everything but the records inside it.

Here an identity or a target stands, so no key may stand twice: two readers could take two patients from it.
"""

from collections.abc import Iterable

from gateway.errors import BadRequest, ErrorCode
from gateway.record.strict_json import reject_duplicate_keys

# A record is looked for by its first bytes and then compared as a whole: a search for all of it would cost more than the check itself.
_PROBE_BYTES = 64


def reject_repeated_keys(body: bytes, records: Iterable[bytes]) -> None:
    """Refuse an envelope with a key twice in one object. `records`: the parts of the body that are left out, in their order.

    Raises:
        BadRequest: a key stands twice (code malformed-json).
    """
    reject_duplicate_keys(b"{}".join(_pieces(body, records)))


def _pieces(body: bytes, records: Iterable[bytes]) -> Iterable[bytes]:
    """Yield the body around the records. One that is not where it should be was taken from a repeated key."""
    at = 0
    for record in records:
        start = _find(body, record, at)
        yield body[at:start]
        at = start + len(record)
    yield body[at:]


def _find(body: bytes, record: bytes, at: int) -> int:
    probe = record[:_PROBE_BYTES]
    start = body.find(probe, at)
    while start >= 0 and body[start : start + len(record)] != record:
        start = body.find(probe, start + 1)
    if start < 0:
        raise BadRequest(ErrorCode.MALFORMED_JSON, "The body holds a key twice in one object.")
    return start
