"""Messages between our own processes over a pair of sockets: a length and that many bytes. No address, no file, nobody else can connect."""

import asyncio
from collections.abc import Callable
from typing import cast

LENGTH_BYTES = 4
FRAME_BYTES_MAX = 64 * 1024 * 1024  # several payloads at their limit; more is a fault of ours


class Frames(asyncio.Protocol):
    """One end: hands over every whole message, and says once when the other end is gone."""

    def __init__(self, on_frame: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether messages can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: bytes) -> None:
        """Send one message; into nothing where the other end is gone."""
        if self._transport is not None and self.is_open:
            self._transport.write(len(message).to_bytes(LENGTH_BYTES, "big") + message)

    def close(self) -> None:
        """Send what is buffered, then hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the other end."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is of a class of its own

    def data_received(self, data: bytes) -> None:
        """Hand over the messages that are whole now."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")
            if end > FRAME_BYTES_MAX:
                self.close()
                return
            if len(buffer) < end:
                return
            message = bytes(buffer[LENGTH_BYTES:end])
            del buffer[:end]
            self._on_frame(message)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Say that the other end is gone."""
        self._on_lost()
