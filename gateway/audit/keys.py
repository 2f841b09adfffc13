"""The keys below the KMS, and how they are found.

    KMS key                         never leaves the service, or a key file of mode 0400
      ring key R_n                  wrapped by the KMS key; unwrapped once, kept in memory
        patient key P_i             AES-KWP (RFC 5649) under R_n, one row per patient; P_0 of a tenant serves events without a patient
        period key T_m              AES-KWP under R_n, one row per tenant and calendar month
        index key B_v, actor key A_v
    record key  = HKDF-SHA256(P_i || T_m, salt = rid, info = "gw-audit/v1/enc")

Destroying P_i makes a patient unreadable, destroying T_m a month; neither touches a record. No call to the KMS is made per record.
Python cannot wipe memory: an unwrapped key stays in the process until the cache lets it go and the memory is used again.
"""

import datetime as dt
import hmac
import secrets
from collections import OrderedDict

import msgspec
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from gateway.audit.kms import KEY_BYTES, KeyFailure, Kms
from gateway.store import LogConnection
from gateway.store.log_table import WrappedKey

PATIENT_KEYS_CACHED_MAX = 10_000
PERIOD_KEYS_CACHED_MAX = 1_000
TOKEN_BYTES = 16


class HeldKey(msgspec.Struct, frozen=True):
    """An unwrapped key with its id and the ring key under which it lies."""

    kid: str
    kid_ring: str
    key: bytes

    def __repr__(self) -> str:
        return f"HeldKey({self.kid})"


class KeyDestroyed(KeyFailure):
    """The key was destroyed on purpose: what it sealed can never be read again."""


class _Cache:
    """Keeps the most recently used keys, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: OrderedDict[object, HeldKey] = OrderedDict()

    def get(self, name: object) -> HeldKey | None:
        held = self._keys.get(name)
        if held is not None:
            self._keys.move_to_end(name)
        return held

    def put(self, name: object, held: HeldKey) -> None:
        self._keys[name] = held
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)

    def clear(self) -> None:
        self._keys.clear()


class Keyring:
    """The unwrapped keys of one process. Belongs to one thread, as its connection does."""

    def __init__(self, ring: dict[str, bytes], index: dict[int, bytes], actor: dict[int, bytes]) -> None:
        self._ring = ring
        self._current_ring = next(reversed(ring))
        self._index_version = max(index)
        self._actor_version = max(actor)
        self._actor_mac = hmac.new(actor[self._actor_version], digestmod="sha256")
        self._index_macs = {version: hmac.new(key, digestmod="sha256") for version, key in index.items()}
        self._patients = _Cache(PATIENT_KEYS_CACHED_MAX)
        self._periods = _Cache(PERIOD_KEYS_CACHED_MAX)
        self._shared: dict[object, HeldKey] = {}  # keys of committed transactions; read by callers' threads, one at a time
        self._unshared: dict[object, HeldKey] = {}  # keys met since the last commit

    @classmethod
    def load(cls, connection: LogConnection, kms: Kms) -> "Keyring":
        """Unwrap the ring keys by the KMS and the rest by them.

        Raises:
            KeyFailure: there are none yet, the KMS cannot be reached, or a key was wrapped by another one.
        """
        ring = {row.kid: kms.unwrap(_stored(row), _ring_context(row.kid)) for row in connection.load_ring_keys()}
        if not ring:
            raise KeyFailure("the database holds no keys yet")
        index = {version: _unwrap(row, ring) for version, row in connection.load_named_keys("index")}
        actor = {version: _unwrap(row, ring) for version, row in connection.load_named_keys("actor")}
        return cls(ring, index, actor)

    def forget(self) -> None:
        """Let go of every cached patient and period key."""
        self._patients.clear()
        self._periods.clear()
        self._shared = {}
        self._unshared = {}

    def share(self) -> None:
        """Let callers' threads use the keys met since the last commit: they are stored now."""
        if len(self._shared) + len(self._unshared) > PATIENT_KEYS_CACHED_MAX:
            self._shared = {}
        self._shared.update(self._unshared)
        self._unshared.clear()

    def shared_keys(self, tenant: str, patient: tuple[str, str] | None, month: str) -> tuple[HeldKey, HeldKey] | None:
        """Return the patient's and the month's key where both are known to be stored. Safe on any thread."""
        shared = self._shared
        patient_key, period_key = shared.get((tenant, patient)), shared.get((tenant, month, "month"))
        return (patient_key, period_key) if patient_key is not None and period_key is not None else None

    # -- finding keys -------------------------------------------------------------------------------------------------

    def patient_key(self, connection: LogConnection, tenant: str, patient: tuple[str, str] | None, at: dt.datetime) -> HeldKey:
        """Return the key of a patient (system, id), or the tenant's P_0; make it within the open transaction if it is new.

        Raises:
            KeyDestroyed: the patient's key was destroyed.
        """
        name = (tenant, patient)
        held = self._patients.get(name)
        if held is None:
            lookup = self._lookup(tenant, patient)
            row = connection.load_patient_key(lookup)
            if row is None:
                row = self._new_key("p")
                connection.insert_patient_key(row, tenant, lookup, self._index_version, at.isoformat())
            held = HeldKey(row.kid, row.kid_ring, _unwrap(row, self._ring))
            self._patients.put(name, held)
            self._unshared[name] = held
        return held

    def period_key(self, connection: LogConnection, tenant: str, at: dt.datetime) -> HeldKey:
        """Return the key of a tenant's calendar month (UTC); make it within the open transaction if it is new.

        Raises:
            KeyDestroyed: the month's key was destroyed.
        """
        month = f"{at.year:04d}-{at.month:02d}"
        held = self._periods.get((tenant, month))
        if held is None:
            row = connection.load_period_key(tenant, month)
            if row is None:
                row = self._new_key("t")
                connection.insert_period_key(row, tenant, month, at.isoformat())
            held = HeldKey(row.kid, row.kid_ring, _unwrap(row, self._ring))
            self._periods.put((tenant, month), held)
            self._unshared[tenant, month, "month"] = held
        return held

    def keys_of(self, connection: LogConnection, kid_patient: str, kid_period: str) -> tuple[HeldKey, HeldKey]:
        """Return the patient key and the period key that a header names.

        Raises:
            KeyFailure: unknown, destroyed, or wrapped by an unknown ring key.
        """
        period = self._periods.get(kid_period)
        if period is None:
            period = self._hold(connection.load_period_key_by_kid(kid_period))
            self._periods.put(kid_period, period)
        return self.patient_key_by_kid(connection, kid_patient), period

    def patient_key_by_kid(self, connection: LogConnection, kid: str) -> HeldKey:
        """Return the patient key that a header names.

        Raises:
            KeyFailure: unknown, destroyed, or wrapped by an unknown ring key.
        """
        patient = self._patients.get(kid)
        if patient is None:
            patient = self._hold(connection.load_patient_key_by_kid(kid))
            self._patients.put(kid, patient)
        return patient

    def _hold(self, row: WrappedKey | None) -> HeldKey:
        if row is None:
            raise KeyFailure("a header names a key that does not exist")
        return HeldKey(row.kid, row.kid_ring, _unwrap(row, self._ring))

    def _new_key(self, prefix: str) -> WrappedKey:
        return _wrap_new(f"{prefix}-{secrets.token_hex(8)}", self._current_ring, self._ring[self._current_ring])

    # -- keyed hashes -------------------------------------------------------------------------------------------------

    def actor_token(self, tenant: str, user: str) -> str:
        """Return what stands for a user in the clear header: `<version>.<HMAC>`."""
        digest = _keyed(self._actor_mac, f"user|{tenant}|{user}".encode())
        return f"{self._actor_version}.{digest[:TOKEN_BYTES].hex()}"

    def search_token(self, patient: tuple[str, str], month: str) -> bytes:
        """Return the token by which a patient's records of one month are found; the month caps what can be linked."""
        system, identifier = patient
        text = f"pat|{system}|{identifier}|{month}".encode()
        return _keyed(self._index_macs[self._index_version], text)[:TOKEN_BYTES]

    def _lookup(self, tenant: str, patient: tuple[str, str] | None) -> bytes:
        system, identifier = patient or ("", "")
        text = msgspec.json.encode(["key", tenant, system, identifier])
        return _keyed(self._index_macs[self._index_version], text)[:TOKEN_BYTES]


def _keyed(mac: hmac.HMAC, text: bytes) -> bytes:
    """Return the HMAC of a short text. Copying a keyed state never hands the interpreter lock away, as `hmac.digest` does."""
    own = mac.copy()
    own.update(text)
    return own.digest()


def create_keys(connection: LogConnection, kms: Kms, at: dt.datetime) -> None:
    """Make the first ring key, index key and actor key, unless they exist. Runs within the open transaction.

    Raises:
        KeyFailure: the KMS cannot make a key.
    """
    if connection.load_ring_keys():
        return
    kid = f"r-{secrets.token_hex(8)}"
    ring = kms.generate(_ring_context(kid))
    connection.insert_ring_key(kid, 1, ring.wrapped, kms.kek_id, at.isoformat())
    for purpose in ("index", "actor"):
        connection.insert_named_key(purpose, 1, _wrap_new(f"{purpose}-1", kid, ring.plain), at.isoformat())


def _ring_context(kid: str) -> str:
    return f"ring|{kid}"


def _wrap_new(kid: str, kid_ring: str, ring_key: bytes) -> WrappedKey:
    return WrappedKey(kid, kid_ring, aes_key_wrap_with_padding(ring_key, secrets.token_bytes(KEY_BYTES)))


def _stored(row: WrappedKey) -> bytes:
    if row.wrapped is None:
        raise KeyDestroyed("the key was destroyed")
    return row.wrapped


def _unwrap(row: WrappedKey, ring: dict[str, bytes]) -> bytes:
    wrapped = _stored(row)
    if row.kid_ring not in ring:
        raise KeyFailure("a key lies under a ring key that does not exist")
    try:
        return aes_key_unwrap_with_padding(ring[row.kid_ring], wrapped)
    except (InvalidUnwrap, ValueError) as error:
        raise KeyFailure("a stored key was changed or lies under another ring key") from error
