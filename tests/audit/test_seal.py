"""Sealing binds a payload to its record, its patient, its month and its keys."""

import asyncio
import hashlib
import hmac
import sqlite3
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.audit import AuditLog, EventType, KeyFailure, KeyFileKms, LogReader, PayloadUnreadable, RecordDraft, StoredRecord, init_keys
from gateway.audit.keys import Keyring
from gateway.audit.seal import BOUND_FIELDS, bound_bytes, derive_record_key, unseal
from gateway.identity import Caller, TenantId
from gateway.store import Database, LogConnection

HEADER_FIELDS = {
    "v", "log_id", "rid", "type", "outcome", "recorded", "mono_ns", "boot_id", "node", "tenant", "client_id", "user_token", "purpose",
    "request_id", "kid_ring", "kid_patient", "kid_period", "alg", "nonce", "commit", "payload_len", "payload_sha256",
}  # fmt: skip


@pytest.fixture
def records(log: AuditLog, database: Path, make_draft: Callable[..., RecordDraft]) -> list[StoredRecord]:
    """Return four records: two patients of one tenant, one of another, one without a patient."""
    other = Caller(client_id="ehr", tenant=TenantId("clinic"), user="dr-x")
    drafts = [make_draft(number=1), make_draft(number=2), make_draft(number=1, caller=other), make_draft(number=3, patient_id=None)]
    asyncio.run(log.append(drafts))
    with LogReader(database) as reader:
        return list(reader.records())


@pytest.fixture
def opened(database: Path, kms: KeyFileKms, records: list[StoredRecord]) -> tuple[Keyring, LogConnection]:
    """Return the keys and a connection of their own."""
    connection = Database(database).connect_log()
    return Keyring.load(connection, kms), connection


def test_a_payload_comes_back(records: list[StoredRecord], database: Path, kms: KeyFileKms) -> None:
    """Who holds the keys reads what was written; the stored bytes do not show it."""
    with LogReader(database, kms) as reader:
        for record in records:
            assert record.payload is not None
            assert b"secret" not in record.payload
            assert reader.open_payload(record) == b'{"secret": 1}'


def test_without_keys_nothing_is_opened(records: list[StoredRecord], database: Path) -> None:
    """A reader without keys sees headers only."""
    with LogReader(database) as reader, pytest.raises(PayloadUnreadable):
        reader.open_payload(records[0])


def test_the_header_has_the_agreed_fields(records: list[StoredRecord]) -> None:
    """A plain record has exactly the fields of the format, and the hashes that bind the payload."""
    assert set(records[0].fields) == HEADER_FIELDS
    assert records[0].payload is not None
    assert records[0].fields["payload_len"] == len(records[0].payload)
    assert records[0].fields["payload_sha256"] == hashlib.sha256(records[0].payload).hexdigest()
    assert records[0].leaf_hash == hashlib.sha256(b"\x00" + records[0].header).digest()


def test_a_patient_has_one_key_and_another_patient_or_tenant_another(records: list[StoredRecord]) -> None:
    """Keys are per tenant and patient, and per tenant and month; the same user has a different token in another tenant."""
    first, second, foreign, nobody = (record.fields for record in records)
    assert len({first["kid_patient"], second["kid_patient"], foreign["kid_patient"], nobody["kid_patient"]}) == 4
    assert first["kid_period"] == second["kid_period"] != foreign["kid_period"]
    assert first["user_token"] == second["user_token"] != foreign["user_token"]


@pytest.mark.parametrize("name", BOUND_FIELDS)
def test_every_bound_field_is_authenticated(records: list[StoredRecord], opened: tuple[Keyring, LogConnection], name: str) -> None:
    """A header in which one bound field differs does not open the payload."""
    record = records[0]
    assert record.payload is not None
    value = record.fields[name]
    other = records[1].fields[name]
    fields = {**record.fields, name: other if other != value else (value + 1 if isinstance(value, int) else f"{value}x")}
    with pytest.raises(PayloadUnreadable):
        unseal(orjson.dumps(fields), record.payload, *opened)


def test_a_payload_does_not_open_under_another_header(records: list[StoredRecord], opened: tuple[Keyring, LogConnection]) -> None:
    """Swapped payloads are refused, between patients and between tenants."""
    for one in records:
        for two in records:
            if one is not two:
                assert two.payload is not None
                with pytest.raises(PayloadUnreadable):
                    unseal(one.header, two.payload, *opened)


def test_a_changed_payload_byte_is_refused(records: list[StoredRecord], opened: tuple[Keyring, LogConnection]) -> None:
    """No byte of a sealed payload can be changed."""
    payload = records[0].payload
    assert payload is not None
    for place in range(len(payload)):
        with pytest.raises(PayloadUnreadable):
            unseal(records[0].header, payload[:place] + bytes([payload[place] ^ 0x80]) + payload[place + 1 :], *opened)


def test_the_bound_bytes_alone_stop_a_swap(records: list[StoredRecord], opened: tuple[Keyring, LogConnection]) -> None:
    """With the right key but another record's bound fields, decryption itself fails: it is not only the commitment that refuses."""
    record = records[0]
    assert record.payload is not None
    patient, period = opened[0].keys_of(opened[1], str(record.fields["kid_patient"]), str(record.fields["kid_period"]))
    key, _ = derive_record_key(patient.key, period.key, str(record.fields["rid"]))
    nonce = bytes.fromhex(str(record.fields["nonce"]))
    assert AESGCM(key).decrypt(nonce, record.payload, bound_bytes(record.fields)) == b'{"secret": 1}'
    with pytest.raises(InvalidTag):
        AESGCM(key).decrypt(nonce, record.payload, bound_bytes({**record.fields, "type": "ACCESS"}))


def test_the_commitment_is_checked(records: list[StoredRecord], opened: tuple[Keyring, LogConnection]) -> None:
    """A header whose commitment belongs to other keys is refused before anything is decrypted."""
    assert records[0].payload is not None
    fields = {**records[0].fields, "commit": records[1].fields["commit"]}
    with pytest.raises(PayloadUnreadable, match="not those under which"):
        unseal(orjson.dumps(fields), records[0].payload, *opened)


def test_the_record_key_is_the_one_of_the_format(records: list[StoredRecord]) -> None:
    """HKDF-SHA256 of patient key and period key, salted by the record's id: written out again, independently."""
    key, commitment = derive_record_key(b"p" * 32, b"t" * 32, "rid-1")
    extract = hmac.digest(b"rid-1", b"p" * 32 + b"t" * 32, "sha256")
    assert key == hmac.digest(extract, b"gw-audit/v1/enc\x01", "sha256")
    assert commitment == hmac.digest(extract, b"gw-audit/v1/commit\x01", "sha256")
    assert HKDF(hashes.SHA256(), 32, b"rid-1", b"gw-audit/v1/enc").derive(b"p" * 32 + b"t" * 32) == key


def test_nonces_and_ids_do_not_repeat(log: AuditLog, database: Path, make_draft: Callable[..., RecordDraft]) -> None:
    """Over two thousand records no nonce, id or commitment occurs twice."""

    async def run() -> None:
        for _ in range(40):
            await log.append([make_draft(number=number) for number in range(50)])

    asyncio.run(run())
    with LogReader(database) as reader:
        fields = [record.fields for record in reader.records()]
    for name in ("nonce", "rid", "commit", "payload_sha256"):
        assert len({field[name] for field in fields}) == 2000


def test_the_search_token_differs_by_month_and_patient(records: list[StoredRecord], opened: tuple[Keyring, LogConnection]) -> None:
    """A token links the records of one patient within one month, not beyond."""
    keyring, connection = opened
    month = str(records[0].fields["recorded"])[:7]
    assert connection.load_tokens(0) == [keyring.search_token(("tenant:ward", "p1"), month)]
    assert connection.load_tokens(3) == []
    tokens = {keyring.search_token(("tenant:ward", patient), when) for patient in ("p1", "p2") for when in ("2026-01", "2026-02")}
    assert len(tokens) == 4


def test_a_destroyed_patient_key_makes_the_patient_unreadable_and_nobody_else(
    records: list[StoredRecord], database: Path, kms: KeyFileKms
) -> None:
    """Once the wrapped key is gone, a new process cannot open that patient's records, and can open the others."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE key_patient SET wrapped = NULL WHERE kid = ?", (records[0].fields["kid_patient"],))
    connection.close()
    with LogReader(database, kms) as reader:
        with pytest.raises(PayloadUnreadable, match="destroyed"):
            reader.open_payload(records[0])
        assert reader.open_payload(records[1]) == b'{"secret": 1}'


def test_another_key_file_cannot_load_the_keys(records: list[StoredRecord], database: Path, tmp_path: Path) -> None:
    """The database is of no use without its own key file."""
    init_keys(tmp_path / "other.json")
    with pytest.raises(KeyFailure):
        LogReader(database, KeyFileKms(tmp_path / "other.json"))


def test_a_mapping_becomes_json(log: AuditLog, database: Path, kms: KeyFileKms, make_draft: Callable[..., RecordDraft]) -> None:
    """A payload may be given as a mapping."""
    asyncio.run(log.append([make_draft(EventType.RESULT, payload={"value": 1.5, "unit": "mmol/L"})]))
    with LogReader(database, kms) as reader:
        (record,) = reader.records()
        assert orjson.loads(reader.open_payload(record)) == {"value": 1.5, "unit": "mmol/L"}
