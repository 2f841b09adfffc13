"""The scanner finds what is planted, and the audit log leaves nothing in clear on the disk."""

import asyncio
import base64
import json
import sqlite3
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from canary import Canary, encodings, fields_of, scan_bytes, scan_directory, scan_surfaces

from gateway.audit import AuditLog, EventType, KeyFileKms, RecordDraft, init_keys
from gateway.identity import Caller, TenantId

CANARIES = (
    Canary("patient id", "canary-pat-7f3a91"),
    Canary("family name", "Zwölfkanarie-Ångström"),
    Canary("birth date", "1931-07-29"),
    Canary("user", "dr.kanarienvogel@ward.example"),
    Canary("value", "187.53125"),
)

ENCODERS: dict[str, Callable[[str], bytes]] = {
    "plain text": str.encode,
    "upper case": lambda text: text.upper().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 one byte later": lambda text: base64.b64encode(b"1" + text.encode()),
    "base64 two bytes later": lambda text: base64.b64encode(b"12" + text.encode() + b"after"),
    "url-safe base64": lambda text: base64.urlsafe_b64encode(text.encode() + b"\xff\xfe"),
    "hex": lambda text: text.encode().hex().encode(),
    "percent-encoded": lambda text: urllib.parse.quote(text, safe="").encode(),
    "every byte percent-encoded": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    "UTF-16 little endian": lambda text: text.encode("utf-16-le"),
    "UTF-16 big endian": lambda text: text.encode("utf-16-be"),
    "JSON": lambda text: json.dumps({"a": text}).encode(),
}


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.field)
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_a_planted_canary_is_found_in_every_encoding(canary: Canary, encoder: Callable[[str], bytes]) -> None:
    """Whatever the encoding, the scanner finds the canary and names its field."""
    data = b"\x00noise\xff" * 100 + encoder(canary.text) + b"more noise" * 100
    assert fields_of(scan_bytes(data, CANARIES, "blob")) == {canary.field}


@pytest.mark.parametrize("surface", ["log", "metrics", "error body", "headers"])
def test_a_planted_canary_is_found_in_each_surface(surface: str) -> None:
    """A canary in one text surface is found there and nowhere else."""
    surfaces: dict[str, str | bytes] = {"log": "started", "metrics": "x_total 1\n", "error body": b"{}", "headers": "a: b"}
    assert scan_surfaces(surfaces, CANARIES) == []
    planted = {**surfaces, surface: f"before {CANARIES[0].text} after"}
    assert {hit.place for hit in scan_surfaces(planted, CANARIES)} == {surface}


@pytest.mark.parametrize("name", ["audit.db", "audit.db-wal", "audit.db-shm", "tmp/etilqs_1", "core"])
def test_a_planted_canary_is_found_in_each_file(tmp_path: Path, name: str) -> None:
    """A canary in the raw bytes of any file below the folder is found, at the border of two chunks as well."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x00" * (4 * 1024 * 1024 - 5) + CANARIES[0].text.encode() + b"\x00" * 100)
    hits, count = scan_directory(tmp_path, CANARIES)
    assert count == 1
    assert {hit.place for hit in hits} == {path.name}


def test_a_canary_in_a_file_name_is_found(tmp_path: Path) -> None:
    """Names of files are a surface too."""
    (tmp_path / f"export-{CANARIES[0].text}.csv").write_bytes(b"")
    hits, _ = scan_directory(tmp_path, CANARIES)
    assert fields_of(hits) == {"patient id"}


def test_a_canary_too_short_to_mean_anything_is_refused() -> None:
    """Text that would be found by chance is no canary."""
    with pytest.raises(ValueError, match="by chance"):
        Canary("age", "93")


def write_records(folder: Path) -> AuditLog:
    keys = folder / "keys.json"
    init_keys(keys)
    log = AuditLog.open(folder / "audit.db", KeyFileKms(keys))
    caller = Caller(client_id="ehr", tenant=TenantId("ward"), user=CANARIES[3].text)
    payload = {canary.field: canary.text for canary in CANARIES} | {"long": [CANARIES[1].text] * 500}

    async def append() -> None:
        for number in range(20):
            await log.append(
                [
                    RecordDraft(type=kind, caller=caller, request_id=f"r{number}", patient_id=CANARIES[0].text, payload=payload)
                    for kind in (EventType.ACCESS, EventType.RESULT)
                ]
            )

    asyncio.run(append())
    return log


def test_the_log_leaves_no_protected_text_in_any_file(tmp_path: Path) -> None:
    """With every protected field a canary, the raw bytes of database, write-ahead log and shared memory hold none, open or closed."""
    log = write_records(tmp_path)
    hits, count = scan_directory(tmp_path, CANARIES)
    assert hits == []
    assert count >= 4
    assert (tmp_path / "audit.db-wal").stat().st_size > 0
    log.close()
    hits, _ = scan_directory(tmp_path, CANARIES)
    assert hits == []


def test_the_scan_would_have_found_a_field_stored_in_clear(tmp_path: Path) -> None:
    """The control: the same scan of the same files finds a canary that was stored without encryption."""
    write_records(tmp_path).close()
    with sqlite3.connect(tmp_path / "audit.db") as connection:
        connection.execute("INSERT INTO key_period VALUES ('t-x', ?, '2026-01', 'r', x'00', 'now', NULL)", (CANARIES[0].text,))
    connection.close()
    hits, _ = scan_directory(tmp_path, CANARIES)
    assert fields_of(hits) == {"patient id"}


def test_every_encoding_is_distinct_enough_to_search_for() -> None:
    """No form of a canary shrinks to something that noise could contain."""
    assert all(len(form) >= 6 for canary in CANARIES for form in encodings(canary.text).values())
