"""Bounded decompression: a response may not grow beyond what we allow, whatever it claims.

Only gzip is asked for and only gzip is read: brotli and zstd decoders hand out gigabytes in one piece (audit-security.md 4.2).
"""

import zlib

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 256 * 1024
_RATIO_FREE_BYTES = 2**20  # small bodies may compress as well as they like


class BodyRefused(ValueError):
    """A body that is too large, badly compressed, or encoded in a way we did not ask for. Holds no part of it."""


class BoundedBody:
    """Collects one response body. Feed it the bytes from the wire; it never holds more than `bytes_max`."""

    def __init__(self, encoding: str, bytes_max: int, ratio_max: int) -> None:
        """Raise BodyRefused when the content encoding is neither identity nor gzip."""
        self._encoding = encoding.strip().lower()
        if self._encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise BodyRefused("the content encoding was not asked for")
        self._inflater = zlib.decompressobj(_GZIP_WINDOW) if "gzip" in self._encoding else None
        self._bytes_max = bytes_max
        self._ratio_max = ratio_max
        self._pieces: list[bytes] = []
        self._size = 0
        self._wire_size = 0

    def feed(self, wire: bytes) -> None:
        """Take bytes as they came. Raises BodyRefused at the first byte too many."""
        self._wire_size += len(wire)
        if self._inflater is None:
            self._keep(wire)
        else:
            self._inflate(wire)

    def finish(self) -> bytes:
        """Return the whole body. Raises BodyRefused when the compressed stream is not complete."""
        inflater = self._inflater
        if inflater is not None and self._wire_size and not inflater.eof:
            raise BodyRefused("the compressed body ends early")
        if len(self._pieces) == 1:
            return self._pieces[0]
        return b"".join(self._pieces)

    def _inflate(self, wire: bytes) -> None:
        inflater = self._inflater
        if inflater is None:
            return
        while True:
            try:
                piece = inflater.decompress(wire, _PIECE_BYTES)
            except zlib.error as error:
                raise BodyRefused("the compressed body is damaged") from error
            self._keep(piece)
            if inflater.unused_data:
                raise BodyRefused("bytes follow the compressed body")
            wire = inflater.unconsumed_tail
            if not wire and len(piece) < _PIECE_BYTES:  # a full piece may leave output behind although all input is taken
                return

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise BodyRefused("the body is larger than allowed")
        if self._size > _RATIO_FREE_BYTES and self._size > self._wire_size * self._ratio_max:
            raise BodyRefused("the body is compressed more than is believable")
        if piece:
            self._pieces.append(piece)
