"""Looks for protected text where it must not be: in the raw bytes of files, in logs, metrics and bodies, in every usual encoding."""

import base64
import binascii
import json
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

CHUNK_BYTES = 4 * 1024 * 1024
TEXT_CHARS_MIN = 6  # shorter text would be found by chance


class Canary(msgspec.Struct, frozen=True):
    """A text that was put into one field and may be found nowhere in clear."""

    field: str
    text: str

    def __post_init__(self) -> None:
        if len(self.text) < TEXT_CHARS_MIN:
            raise ValueError("a canary needs enough characters not to be found by chance")


class Hit(msgspec.Struct, frozen=True):
    """A canary that was found."""

    field: str
    encoding: str
    place: str


def encodings(text: str) -> dict[str, bytes]:
    """Return the byte forms in which a text could leak, by name."""
    raw = text.encode()
    forms = {
        "plain": raw,
        "upper": text.upper().encode(),
        "lower": text.lower().encode(),
        "hex": binascii.hexlify(raw),
        "hex-upper": binascii.hexlify(raw).upper(),
        "percent": urllib.parse.quote(text, safe="").encode(),
        "percent-all": "".join(f"%{byte:02X}" for byte in raw).encode(),
        "percent-all-lower": "".join(f"%{byte:02x}" for byte in raw).encode(),
        "plus": urllib.parse.quote_plus(text).encode(),
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "json": json.dumps(text).encode()[1:-1],
        "json-escaped": "".join(f"\\u{ord(char):04x}" for char in text).encode(),
        "reversed": raw[::-1],
    }
    for shift in range(3):
        inner = _base64_inner(raw, shift)
        forms[f"base64-{shift}"] = inner
        forms[f"base64url-{shift}"] = inner.replace(b"+", b"-").replace(b"/", b"_")
    return forms


def scan_bytes(data: bytes, canaries: Sequence[Canary], place: str) -> list[Hit]:
    """Return every canary and encoding found in the data."""
    return [Hit(canary.field, name, place) for canary in canaries for name, form in encodings(canary.text).items() if form in data]


def scan_surfaces(surfaces: Mapping[str, str | bytes], canaries: Sequence[Canary]) -> list[Hit]:
    """Return what is found in named texts: captured logs, the metrics page, bodies, headers."""
    return [
        hit
        for name, content in surfaces.items()
        for hit in scan_bytes(content.encode() if isinstance(content, str) else content, canaries, name)
    ]


def scan_directory(folder: Path, canaries: Sequence[Canary]) -> tuple[list[Hit], int]:
    """Return what is found in the raw bytes and the names of all files below a folder, and how many files were read.

    Database, write-ahead log, shared memory and temporary files are files like any other.
    """
    hits: list[Hit] = []
    count = 0
    for path in sorted(folder.rglob("*")):
        hits += scan_bytes(str(path.relative_to(folder)).encode(), canaries, f"name of {path.name}")
        if path.is_file() and not path.is_symlink():
            count += 1
            hits += _scan_file(path, canaries)
    return hits, count


def _scan_file(path: Path, canaries: Sequence[Canary]) -> list[Hit]:
    forms = [(canary, name, form) for canary in canaries for name, form in encodings(canary.text).items()]
    overlap = max((len(form) for _, _, form in forms), default=1) - 1
    found: set[Hit] = set()
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            window = tail + chunk
            found.update(Hit(canary.field, name, path.name) for canary, name, form in forms if form in window)
            tail = window[-overlap:] if overlap else b""
    return sorted(found, key=lambda hit: (hit.field, hit.encoding))


def _base64_inner(raw: bytes, shift: int) -> bytes:
    """Return the characters of base64 that depend on nothing but the text, when it starts `shift` bytes after a group of three."""
    encoded = base64.b64encode(b"\x00" * shift + raw).rstrip(b"=")
    first = (shift * 8 + 5) // 6
    whole = (shift + len(raw)) * 8 // 6
    return encoded[first:whole]


def fields_of(hits: Iterable[Hit]) -> set[str]:
    """Return the fields whose canaries were found."""
    return {hit.field for hit in hits}
