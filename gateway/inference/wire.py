"""What a server process and a worker say to each other: MessagePack behind four bytes of length, on a socket of this machine.

A run's deadline is a reading of the machine's monotonic clock, which all its processes share.
"""

import struct
from collections.abc import Iterator

import msgspec

from gateway.inference.result import Numbers, Signature

MESSAGE_BYTES_MAX = 300 * 1024 * 1024  # the largest graph of a release and some more
BACKLOG = 64  # connections that wait for a worker
_LENGTH = struct.Struct(">I")


class Load(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Load a graph under a key; one that is loaded already stays. `rows_max`: in one run of it."""

    key: str
    signature: Signature
    graph: bytes
    rows_max: int


class Run(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Run rows of one model, in the order of its signature. Not started after `expires_s`."""

    id: int
    key: str
    rows: list[list[float]]
    variants: list[int | None]
    expires_s: float


class Ping(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Are you there."""


class Hello(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The first thing a worker says."""

    pid: int


class Loaded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A graph is loaded, or why not."""

    key: str
    runtime: str
    problem: str


class Ran(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What each row gave: its numbers, or why there are none."""

    id: int
    rows: list[Numbers | str]


class Pong(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Here."""


Request = Load | Run | Ping
Reply = Hello | Loaded | Ran | Pong

_encoder = msgspec.msgpack.Encoder()
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


class BrokenWire(Exception):
    """What came is not what the two say to each other."""


def encode(message: Request | Reply) -> bytes:
    """Return a message with its length before it."""
    content = _encoder.encode(message)
    return _LENGTH.pack(len(content)) + content


class Frames:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Yield every message that is complete now.

        Raises:
            BrokenWire: a message is said to be longer than any may be.
        """
        self._buffer += received
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MESSAGE_BYTES_MAX:
                raise BrokenWire("a message is too long")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield bytes(self._buffer[start + _LENGTH.size : end])
            start = end
        del self._buffer[:start]
