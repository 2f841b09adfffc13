"""The wire format of protocol buffers, as far as it takes to look into a model without trusting it.

Source: protobuf.dev/programming-guides/encoding. Groups are refused, every length stays within its message, and nothing is copied.
"""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
_MORE_FOLLOWS = 0x80  # the high bit of a varint's byte
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


class Malformed(ValueError):
    """The bytes are not a message."""


class Field(NamedTuple):
    """One field of a message: `number` holds a varint's value, `content` the bytes of anything else."""

    tag: int
    wire_type: int
    number: int
    content: memoryview


def read_fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in order, every occurrence.

    Raises:
        Malformed: the message ends within a field, or holds a group or an unknown wire type.
    """
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        tag, wire_type = key >> 3, key & 7
        if tag == 0:
            raise Malformed("a field has no number")
        if wire_type == VARINT:
            number, at = _read_varint(message, at)
            yield Field(tag, wire_type, number, message[:0])
            continue
        if wire_type == LENGTH:
            size, at = _read_varint(message, at)
        elif wire_type in _FIXED_BYTES:
            size = _FIXED_BYTES[wire_type]
        else:
            raise Malformed("a group or an unknown kind of field")
        if size > len(message) - at:
            raise Malformed("a field ends outside its message")
        yield Field(tag, wire_type, 0, message[at : at + size])
        at += size


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number and the place behind it."""
    number = 0
    for place in range(_VARINT_BYTES_MAX):
        if at + place >= len(message):
            raise Malformed("a number is cut off")
        byte = message[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < _MORE_FOLLOWS:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at + place + 1
    raise Malformed("a number is too long")
