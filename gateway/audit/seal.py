"""Sealing: from a draft to the bytes that are stored, and back to the payload for whoever holds the keys."""

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from typing import Self

import msgspec
import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.audit.keys import HeldKey, Keyring
from gateway.audit.kms import KEY_BYTES, NONCE_BYTES, KeyFailure
from gateway.audit.merkle import hash_leaf
from gateway.audit.record import ALGORITHM, FORMAT_VERSION, Entropy, EventType, Outcome, RecordDraft, encode_header
from gateway.clock import Clock
from gateway.store import LogConnection

BOUND_FIELDS = ("alg", "kid_patient", "kid_period", "kid_ring", "log_id", "rid", "tenant", "type", "v")  # sorted
INHERITED_FIELDS = ("tenant", "client_id", "user_token", "purpose", "request_id", "trace_id", "model_id")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where records come from: which log, which machine, which run of the process."""

    log_id: str
    node: str
    boot_id: str


class Instant(msgspec.Struct, frozen=True):
    """When: the wall clock in UTC, and nanoseconds of a clock that never runs backwards."""

    at: dt.datetime
    mono_ns: int
    recorded: str  # `at` as text, microseconds
    month: str  # YYYY-MM

    @classmethod
    def of(cls, clock: Clock) -> Self:
        """Return the clock's instant, as one batch of records carries it."""
        at = clock.now()
        return cls(at, int(clock.monotonic() * 1e9), at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), f"{at.year:04d}-{at.month:02d}")


class SealedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record, ready to be stored under whatever index it gets."""

    rid: str
    header: bytes
    leaf_hash: bytes
    payload: bytes
    tokens: tuple[bytes, ...] = ()


class PayloadUnreadable(Exception):
    """The payload cannot be opened: changed bytes, another record's bytes, other keys, or a destroyed key."""


class Sealer:
    """Seals drafts with the keys of one process, for the thread that owns the connection."""

    def __init__(self, keyring: Keyring, connection: LogConnection, origin: Origin) -> None:
        self.keyring = keyring
        self.origin = origin
        self.connection = connection
        self._nonces = Entropy()  # every record has a key of its own, so no nonce is ever used twice under one key

    def seal(self, draft: RecordDraft, rid: str, caused_by: str | None, instant: Instant) -> SealedRecord:
        """Encrypt the payload and write the header. New keys are stored within the connection's open transaction.

        Raises:
            KeyFailure: a key cannot be had.
            ValueError: header or payload is too large.
        """
        patient, tenant = patient_of(draft), draft.caller.tenant
        keys = (
            self.keyring.patient_key(self.connection, tenant, patient, instant.at),
            self.keyring.period_key(self.connection, tenant, instant.at),
        )
        return seal_record(self.keyring, draft, (rid, caused_by), keys, (self.origin, instant, self._nonces.take(NONCE_BYTES)))

    def seal_abandoned(self, access: Mapping[str, str | int], rid: str, tokens: tuple[bytes, ...], instant: Instant) -> SealedRecord:
        """Seal the ABANDONED record of an ACCESS, of which only the header is known: same actor, same patient key, same search tokens.

        Raises:
            KeyFailure: a key cannot be had.
        """
        kid_patient = str(access["kid_patient"])
        patient_key = self.keyring.patient_key_by_kid(self.connection, kid_patient)
        period_key = self.keyring.period_key(self.connection, str(access["tenant"]), instant.at)
        fields = {name: access[name] for name in INHERITED_FIELDS if name in access}
        fields.update(type=EventType.ABANDONED.value, outcome=Outcome.SERIOUS_FAILURE.value, rid=rid, caused_by=access["rid"])
        sealed = seal_fields(fields, b"{}", (patient_key, period_key), self.origin, instant, self._nonces.take(NONCE_BYTES))
        return msgspec.structs.replace(sealed, tokens=tokens)


def seal_record(
    keyring: Keyring,
    draft: RecordDraft,
    names: tuple[str, str | None],
    keys: tuple[HeldKey, HeldKey],
    made: tuple[Origin, Instant, bytes],
) -> SealedRecord:
    """Seal a draft. `names`: its rid and the rid it follows; `keys`: of the patient and the month; `made`: where, when, and the nonce.

    Raises:
        ValueError: header or payload is too large.
    """
    rid, caused_by = names
    origin, instant, nonce = made
    patient, tenant = patient_of(draft), draft.caller.tenant
    fields = draft.facts()
    fields["rid"] = rid
    if caused_by:
        fields["caused_by"] = caused_by
    if draft.caller.user:
        fields["user_token"] = keyring.actor_token(tenant, draft.caller.user)
    sealed = seal_fields(fields, draft.payload_bytes(), keys, origin, instant, nonce)
    if patient is None:
        return sealed
    return msgspec.structs.replace(sealed, tokens=(keyring.search_token(patient, instant.month),))


def seal_fields(
    fields: dict[str, str | int],
    payload: bytes,
    keys: tuple[HeldKey, HeldKey],
    origin: Origin,
    instant: Instant,
    nonce: bytes,
) -> SealedRecord:
    """Seal a payload under a header of which `fields` are already decided; `nonce` is random, 96 bits, used once.

    Raises:
        ValueError: the header is too large.
    """
    patient_key, period_key = keys
    rid = str(fields["rid"])
    key, commitment = derive_record_key(patient_key.key, period_key.key, rid)
    fields.update(
        v=FORMAT_VERSION,
        log_id=origin.log_id,
        node=origin.node,
        boot_id=origin.boot_id,
        recorded=instant.recorded,
        mono_ns=str(instant.mono_ns),
        kid_ring=patient_key.kid_ring,
        kid_patient=patient_key.kid,
        kid_period=period_key.kid,
        alg=ALGORITHM,
        nonce=nonce.hex(),
        commit=commitment.hex(),
    )
    sealed = AESGCM(key).encrypt(nonce, payload, bound_bytes(fields))
    fields["payload_len"] = len(sealed)
    fields["payload_sha256"] = hashlib.sha256(sealed).hexdigest()
    header = encode_header(fields)
    return SealedRecord(rid=rid, header=header, leaf_hash=hash_leaf(header), payload=sealed)


def unseal(header: bytes, payload: bytes, keyring: Keyring, connection: LogConnection) -> bytes:
    """Return the payload in clear. The key commitment is checked first.

    Raises:
        PayloadUnreadable: changed, swapped, or sealed under keys that are not these, or are destroyed.
    """
    fields = read_header(header)
    try:
        patient_key, period_key = keyring.keys_of(connection, str(fields["kid_patient"]), str(fields["kid_period"]))
        key, commitment = derive_record_key(patient_key.key, period_key.key, str(fields["rid"]))
        nonce, claimed = bytes.fromhex(str(fields["nonce"])), bytes.fromhex(str(fields["commit"]))
        if not hmac.compare_digest(commitment, claimed):
            raise PayloadUnreadable("the keys are not those under which the record was sealed")
        return AESGCM(key).decrypt(nonce, payload, bound_bytes(fields))
    except KeyFailure as error:
        raise PayloadUnreadable(str(error)) from error
    except (InvalidTag, KeyError, ValueError) as error:
        raise PayloadUnreadable("the record was changed, or the payload belongs to another one") from error


def read_header(header: bytes) -> dict[str, str | int]:
    """Return the fields of a header.

    Raises:
        PayloadUnreadable: not a JSON object.
    """
    try:
        fields = orjson.loads(header)
    except orjson.JSONDecodeError as error:
        raise PayloadUnreadable("the header is not JSON") from error
    if not isinstance(fields, dict):
        raise PayloadUnreadable("the header is not an object")
    return fields


def derive_record_key(patient_key: bytes, period_key: bytes, rid: str) -> tuple[bytes, bytes]:
    """Return the record's key and the commitment to it (HKDF-SHA256, RFC 5869). GCM alone does not commit to its key."""
    material, salt = patient_key + period_key, rid.encode()
    key = HKDF(hashes.SHA256(), KEY_BYTES, salt, b"gw-audit/v1/enc").derive(material)
    commitment = HKDF(hashes.SHA256(), KEY_BYTES, salt, b"gw-audit/v1/commit").derive(material)
    return key, commitment


def bound_bytes(fields: Mapping[str, str | int]) -> bytes:
    """Return the additional authenticated data: who and what the record is, as canonical JSON. It stops swaps between records."""
    return orjson.dumps({name: fields[name] for name in BOUND_FIELDS})


def patient_of(draft: RecordDraft) -> tuple[str, str] | None:
    """Return (system, id) of the patient a record is about, None for none."""
    if draft.patient_id is None:
        return None
    return draft.patient_system or f"tenant:{draft.caller.tenant}", draft.patient_id
