"""The audit log: durable before anything leaves, tamper-evident, encrypted.

Header in clear without PHI, payload encrypted, leaf hash over the header, RFC 6962 tree over the leaves, keys below a KMS.
It detects an edit, a deletion, an insertion, a reordering or a swap of ciphertext by anybody who has the database. It does not detect
what a fully compromised gateway writes down wrongly in the first place; times, counts and client ids are readable in the database.

The use case names only the form of a record; the rest is loaded when it is first asked for, so that deciding loads neither cryptography nor
a database.
"""

import importlib
from typing import TYPE_CHECKING

from gateway.audit.record import EventType, Outcome, Receipt, RecordDraft

if TYPE_CHECKING:
    from gateway.audit.kms import KeyFailure, KeyFileKms, Kms, init_keys
    from gateway.audit.log import AuditLog, AuditLogError
    from gateway.audit.seal import PayloadUnreadable
    from gateway.audit.verify import LogReader, Problem, ProblemKind, StoredRecord, VerifyReport, verify_log

_LOADED_LATER = {
    **dict.fromkeys(("KeyFailure", "KeyFileKms", "Kms", "init_keys"), "kms"),
    **dict.fromkeys(("AuditLog", "AuditLogError"), "log"),
    "PayloadUnreadable": "seal",
    **dict.fromkeys(("LogReader", "Problem", "ProblemKind", "StoredRecord", "VerifyReport", "verify_log"), "verify"),
}

__all__ = [
    "AuditLog",
    "AuditLogError",
    "EventType",
    "KeyFailure",
    "KeyFileKms",
    "Kms",
    "LogReader",
    "Outcome",
    "PayloadUnreadable",
    "Problem",
    "ProblemKind",
    "Receipt",
    "RecordDraft",
    "StoredRecord",
    "VerifyReport",
    "init_keys",
    "verify_log",
]


def __getattr__(name: str) -> object:
    if name not in _LOADED_LATER:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_LOADED_LATER[name]}"), name)
