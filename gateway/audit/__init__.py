"""The audit log: durable before anything leaves, tamper-evident, encrypted.

Header in clear without PHI, payload encrypted, leaf hash over the header, RFC 6962 tree over the leaves, keys below a KMS.
It detects an edit, a deletion, an insertion, a reordering or a swap of ciphertext by anybody who has the database. It does not detect
what a fully compromised gateway writes down wrongly in the first place; times, counts and client ids are readable in the database.
"""

from gateway.audit.kms import KeyFailure, KeyFileKms, Kms, init_keys
from gateway.audit.log import AuditLog, AuditLogError
from gateway.audit.record import EventType, Outcome, Receipt, RecordDraft
from gateway.audit.seal import PayloadUnreadable
from gateway.audit.verify import LogReader, Problem, ProblemKind, StoredRecord, VerifyReport, verify_log

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
