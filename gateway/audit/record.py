"""What one audit record says: a header in clear without PHI, and a payload that is encrypted.

The header is canonical JSON (RFC 8785) of at most 4 KiB; the leaf of the Merkle tree is SHA-256(0x00 || header), and the header binds the
encrypted payload by its hash. The order of records is the index in the log, never a clock.
"""

import datetime as dt
import enum
import operator
import re
import secrets
from collections.abc import Mapping

import msgspec
import orjson

from gateway.identity import Caller

FORMAT_VERSION = 1
ALGORITHM = "A256GCM-HKDF-SHA256-C1"  # AES-256-GCM, key and key commitment by HKDF-SHA256, first form
HEADER_BYTES_MAX = 4096
PAYLOAD_BYTES_MAX = 4 * 1024 * 1024
FACT_CHARS_MAX = 1024
JSON_INTEGER_MAX = 2**53 - 1  # RFC 8785 serialises numbers as IEEE doubles


_TEXTS = operator.attrgetter(
    "caused_by", "trace_id", "model_id", "model_sha256", "config_sha256", "data_contract", "verdict", "fallback", "rung"
)
_RID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class EventType(enum.StrEnum):
    """Everything that is written down. A name never changes its meaning."""

    ACCESS = "ACCESS"  # before a patient's data are read; one per patient
    RESULT = "RESULT"  # before an answer leaves
    REFUSED = "REFUSED"  # the request ended without an answer
    NOT_DELIVERED = "NOT_DELIVERED"  # a record became durable after its caller had given up: the answer was never sent
    REPLAYED = "REPLAYED"  # a stored answer was given again
    ABANDONED = "ABANDONED"  # an ACCESS whose end was never written, found later
    WRITEBACK = "WRITEBACK"
    CDS_FEEDBACK = "CDS_FEEDBACK"
    CDS_OVERRIDE = "CDS_OVERRIDE"
    AUTHN_FAIL = "AUTHN_FAIL"
    AUTHZ_DENY = "AUTHZ_DENY"
    BTG_START = "BTG_START"
    BTG_STOP = "BTG_STOP"
    AUDIT_READ = "AUDIT_READ"
    EXPORT = "EXPORT"
    MODEL_LOAD = "MODEL_LOAD"
    MODEL_APPROVE = "MODEL_APPROVE"
    MODEL_PROMOTE = "MODEL_PROMOTE"
    MODEL_SHADOW = "MODEL_SHADOW"
    MODEL_ROLLBACK = "MODEL_ROLLBACK"
    MODEL_KILL = "MODEL_KILL"
    CONFIG_CHANGE = "CONFIG_CHANGE"
    KEY_CREATE = "KEY_CREATE"
    KEY_ROTATE = "KEY_ROTATE"
    KEY_SHRED = "KEY_SHRED"
    HOLD_PLACE = "HOLD_PLACE"
    HOLD_LIFT = "HOLD_LIFT"
    RETENTION_PRUNE = "RETENTION_PRUNE"
    START = "START"
    STOP = "STOP"
    CLOCK_ANOMALY = "CLOCK_ANOMALY"
    AUDIT_DEGRADED = "AUDIT_DEGRADED"
    AUDIT_RECOVERED = "AUDIT_RECOVERED"
    REVIEW_SIGNED = "REVIEW_SIGNED"
    CHECKPOINT = "CHECKPOINT"


ENDS_ACCESS = frozenset({EventType.RESULT, EventType.REFUSED, EventType.REPLAYED, EventType.NOT_DELIVERED, EventType.ABANDONED})


class Outcome(enum.StrEnum):
    """How the event ended: the words of AuditEvent.outcome (R4), spelt out."""

    SUCCESS = "success"
    MINOR_FAILURE = "minor-failure"
    SERIOUS_FAILURE = "serious-failure"
    MAJOR_FAILURE = "major-failure"


class RecordDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants written down. The log adds ids, times and keys, and encrypts.

    `facts` below go into the clear header, so they are printable ASCII and hold no PHI; several models are joined by commas, in the same
    order in `model_id`, `model_sha256` and `verdict`. The patient stands only in the encrypted payload and behind keyed hashes.
    """

    type: EventType
    caller: Caller
    request_id: str
    outcome: Outcome = Outcome.SUCCESS
    patient_id: str | None = None
    patient_system: str = ""  # the FHIR base or identifier system of `patient_id`; "" is the tenant's own
    payload: bytes | Mapping[str, object] = b"{}"
    rid: str | None = None  # given only by who has to name the record before it is written
    caused_by: str | None = None  # rid of the record that this one follows; an end finds its ACCESS by itself
    trace_id: str | None = None
    model_id: str | None = None
    model_sha256: str | None = None
    config_sha256: str | None = None
    data_contract: str | None = None
    verdict: str | None = None
    fallback: str | None = None
    rung: str | None = None
    http_status: int | None = None
    count: int | None = None  # how many events an aggregated record stands for

    def __post_init__(self) -> None:
        if not isinstance(self.caller, Caller):
            raise TypeError("a record needs an actor")
        if not self.request_id:
            raise ValueError("a record needs a request id")
        if self.patient_id == "":
            raise ValueError("a patient id is text or None")
        if self.rid is not None and not _RID.fullmatch(self.rid):
            raise ValueError("a record id is a UUID in lower case")
        if not self._is_plain():
            check_facts(self.facts())

    def _is_plain(self) -> bool:
        """Tell in one look that every fact may stand in a header; most drafts are like that, and each is made several times."""
        caller, status = self.caller, self.http_status
        if self.count is not None or (status is not None and type(status) is not int):
            return False
        texts = "".join(filter(None, (caller.tenant, caller.client_id, self.request_id, *_TEXTS(self))))
        return len(texts) <= FACT_CHARS_MAX and texts.isascii() and texts.isprintable() and abs(status or 0) <= JSON_INTEGER_MAX

    def facts(self) -> dict[str, str | int]:
        """Return the fields of the clear header that the caller decides, absent ones left out."""
        fields: dict[str, str | int | None] = {
            "type": self.type.value,
            "outcome": self.outcome.value,
            "tenant": self.caller.tenant,
            "client_id": self.caller.client_id,
            "purpose": self.caller.purpose.value,
            "request_id": self.request_id,
            "caused_by": self.caused_by,
            "trace_id": self.trace_id,
            "model_id": self.model_id,
            "model_sha256": self.model_sha256,
            "config_sha256": self.config_sha256,
            "data_contract": self.data_contract,
            "dq_verdict": self.verdict,
            "fallback": self.fallback,
            "rung": self.rung,
            "http_status": self.http_status,
            "count": self.count,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def payload_bytes(self) -> bytes:
        """Return the payload as bytes; a mapping becomes JSON.

        Raises:
            ValueError: the payload is larger than the limit.
        """
        payload = self.payload if isinstance(self.payload, bytes) else orjson.dumps(self.payload, option=orjson.OPT_NON_STR_KEYS)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"an audit payload has at most {PAYLOAD_BYTES_MAX} bytes")
        return payload


def check_facts(fields: Mapping[str, str | int]) -> None:
    """Refuse what canonical JSON could write in two ways, or what is too long.

    Raises:
        ValueError: a text is not printable ASCII or too long, or a number is not a safe integer.
    """
    for name, value in fields.items():
        if isinstance(value, str):
            if len(value) > FACT_CHARS_MAX or not value.isascii() or not value.isprintable():
                raise ValueError(f"the header field {name} holds printable ASCII of at most {FACT_CHARS_MAX} characters")
        elif isinstance(value, bool) or abs(value) > JSON_INTEGER_MAX:
            raise ValueError(f"the header field {name} holds a safe integer")


def encode_header(fields: Mapping[str, str | int]) -> bytes:
    """Return canonical JSON (RFC 8785) of a flat header.

    For flat objects of printable ASCII and safe integers orjson with sorted keys writes the same bytes as the `rfc8785` package, at a
    fortieth of its time; a property test holds the two together.

    Raises:
        ValueError: the header is longer than the limit.
    """
    header = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    if len(header) > HEADER_BYTES_MAX:
        raise ValueError(f"an audit header has at most {HEADER_BYTES_MAX} bytes")
    return header


class Entropy:
    """Random bytes of the operating system, drawn in blocks: each draw hands the interpreter lock away, and it comes back late."""

    BLOCK_BYTES = 4096

    def __init__(self) -> None:
        self._block = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        """Return `count` bytes that were never returned before; not for keys, which are drawn one by one."""
        if self._used + count > len(self._block):
            self._block, self._used = secrets.token_bytes(max(count, self.BLOCK_BYTES)), 0
        taken = self._block[self._used : self._used + count]
        self._used += count
        return taken

    def bits(self, count: int) -> int:
        """Return a number of `count` random bits."""
        whole = -(-count // 8)
        return int.from_bytes(self.take(whole), "big") >> (whole * 8 - count)


class RidMaker:
    """Makes UUIDs of version 7 (RFC 9562 sections 5.7 and 6.2, method 2): within one maker each is greater than the one before."""

    def __init__(self, entropy: Entropy | None = None) -> None:
        self._last = 0
        self._entropy = entropy or Entropy()

    def make(self, at: dt.datetime) -> str:
        """Return the next id: milliseconds of `at`, then 74 bits that start at random and grow by random steps within a millisecond.

        Where the clock stood still or ran backwards the last instant is kept.
        """
        fresh = int(at.timestamp() * 1000) << 74 | self._entropy.bits(73)
        self._last = fresh if fresh >> 74 > self._last >> 74 else self._last + 1 + self._entropy.bits(32)
        millis, noise = self._last >> 74 & (2**48 - 1), self._last & (2**74 - 1)
        value = millis << 80 | 0x7 << 76 | noise >> 62 << 64 | 0b10 << 62 | noise & (2**62 - 1)
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Proof for the caller that a record exists; `str()` is the value of the `Audit-Receipt` header."""

    log_id: str
    index: int
    leaf_hash: bytes
    rid: str

    def __str__(self) -> str:
        return f"{self.log_id}/{self.index}/{self.leaf_hash.hex()}"
