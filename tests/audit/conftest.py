"""A log in a folder of its own, and drafts to append."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import AuditLog, EventType, KeyFileKms, RecordDraft, init_keys
from gateway.identity import Caller, TenantId

CALLER = Caller(client_id="ehr", tenant=TenantId("ward"), user="dr-x")

DraftMaker = Callable[..., RecordDraft]


@pytest.fixture
def make_draft() -> DraftMaker:
    """Return a maker of drafts; every argument can be replaced."""

    def make(kind: EventType = EventType.RESULT, number: int = 1, **other: Any) -> RecordDraft:
        fields = {"caller": CALLER, "request_id": f"r{number}", "patient_id": f"p{number}", "payload": b'{"secret": 1}'} | other
        return RecordDraft(type=kind, **fields)

    return make


@pytest.fixture
def kms(tmp_path: Path) -> KeyFileKms:
    """Return a fresh key file."""
    init_keys(tmp_path / "keys.json")
    return KeyFileKms(tmp_path / "keys.json")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return where the log's database goes."""
    return tmp_path / "audit.db"


@pytest.fixture
def log(database: Path, kms: KeyFileKms) -> Iterator[AuditLog]:
    """Return an open, empty log."""
    opened = AuditLog.open(database, kms, node="test-node")
    yield opened
    opened.close()
