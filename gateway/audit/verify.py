"""Checking a stored log: every header and payload hashed again, the tree built again, compared with what is stored.

No key is needed. What can be found: an edit, a deletion, an insertion, a swap, a truncation, each with its place; where somebody changed a
leaf and its stored hash together, the place is the tile of 256 records in which it lies. A whole log replaced by a shorter or another
consistent one is found by receipts that callers hold and by signed checkpoints, not by looking at the log alone.
"""

import enum
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec
import orjson

from gateway.audit.keys import Keyring
from gateway.audit.kms import KeyFailure, Kms
from gateway.audit.merkle import TILE_HEIGHT, TILE_WIDTH, CompactRange, hash_leaf, hash_tree
from gateway.audit.seal import PayloadUnreadable, unseal
from gateway.store import Database, LogConnection, LogHead, LogRow

PROBLEMS_MAX = 1_000  # more are counted, not listed
PROGRESS_EVERY = 10_000
REORDERED_DETAIL = "records stand in another order than they were written"


class ProblemKind(enum.StrEnum):
    """What is wrong."""

    MISSING = "missing"  # a payload, a subtree hash, or records between the last one and the head
    MODIFIED = "modified"
    GAP = "gap"  # records in the middle are not there
    REORDERED = "reordered"
    INSERTED = "inserted"  # something stands there that no head covers
    UNREADABLE = "unreadable"  # the store cannot be read, or with keys given, a payload cannot be opened


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding; `first` and `last` are the indices between which it lies, both included."""

    kind: ProblemKind
    first: int
    last: int
    detail: str


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying found. `unsigned_from` is the index from which no signed checkpoint covers the log."""

    log_id: str
    size: int
    root: str
    records: int
    payloads_opened: int
    problems: tuple[Problem, ...]
    problem_count: int
    unsigned_from: int | None

    @property
    def valid(self) -> bool:
        """Tell whether nothing is wrong. An unsigned tail is not wrong, it is not yet proven."""
        return self.problem_count == 0


Progress = Callable[[int, int], None]


def verify_log(path: Path, kms: Kms | None = None, *, progress: Progress | None = None) -> VerifyReport:
    """Verify the log in a database, record by record; with a KMS given, open every payload too.

    Never raises for what it finds in the log: a store that cannot be read is a finding.

    Raises:
        FileNotFoundError: there is no database.
        gateway.audit.kms.KeyFailure: a KMS is given and does not fit the database.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    findings = _Findings()
    check = None
    try:
        connection = Database(path).connect_log()
    except sqlite3.Error:
        findings.add(ProblemKind.UNREADABLE, 0, 0, "the database cannot be opened")
        return findings.report(None, 0, 0)
    try:
        check = _Check(connection, findings)
        check.run(Keyring.load(connection, kms) if kms else None, progress)
    except (sqlite3.Error, OverflowError, TypeError) as error:
        # TypeError: SQLite stores any type in any column, so a flipped byte can turn a hash into a number.
        at = check.next if check else 0
        findings.add(ProblemKind.UNREADABLE, at, at, f"the store cannot be read ({type(error).__name__})")
    finally:
        connection.close()
    return findings.report(check.head if check else None, check.next if check else 0, check.opened if check else 0)


class _Findings:
    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.count = 0

    def add(self, kind: ProblemKind, first: int, last: int, detail: str) -> None:
        self.count += 1
        if len(self.listed) < PROBLEMS_MAX:
            self.listed.append(Problem(kind=kind, first=first, last=last, detail=detail))

    def report(self, head: LogHead | None, records: int, opened: int) -> VerifyReport:
        return VerifyReport(
            log_id=str(head.log_id) if head else "",
            size=head.size if head else 0,
            root=bytes(head.root).hex() if head else "",
            records=records,
            payloads_opened=opened,
            problems=tuple(sorted(self.listed, key=lambda problem: problem.first)),
            problem_count=self.count,
            unsigned_from=0 if head and head.size else None,
        )


class _Check:
    """One pass over the log, in order of index, with memory for one tile."""

    def __init__(self, connection: LogConnection, findings: _Findings) -> None:
        self.next = 0  # the index that must come
        self.opened = 0
        self.head: LogHead | None = None
        self._connection = connection
        self._findings = findings
        self._tree = CompactRange()
        self._tile: list[tuple[str, bytes]] = []  # (rid, stored leaf hash) of the tile being read
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._broken = False  # after a gap no tree can be built

    def run(self, keyring: Keyring | None, progress: Progress | None) -> None:
        self._connection.begin_read()
        self.head = head = self._connection.load_head()
        if head is None:
            self._findings.add(ProblemKind.MISSING, 0, 0, "the log has no head")
            return
        self._nodes = self._connection.load_all_nodes()
        for row in self._connection.load_records():
            self._check_place(row, head)
            fields = self._check_record(row, head)
            self._check_tree(row, str(fields.get("rid", "")))
            if keyring is not None and row.payload is not None and fields:
                self._open(row, keyring)
            self.next = row.index + 1
            if progress and self.next % PROGRESS_EVERY == 0:
                progress(self.next, head.size)
        self._check_end(head)

    def _check_place(self, row: LogRow, head: LogHead) -> None:
        if row.index != self.next:
            self._findings.add(ProblemKind.GAP, self.next, row.index - 1, f"{row.index - self.next} records are not there")
            self._broken = True
        if row.index >= head.size:
            self._findings.add(ProblemKind.INSERTED, row.index, row.index, "the record lies beyond the head")

    def _check_record(self, row: LogRow, head: LogHead) -> dict[str, object]:
        if hash_leaf(row.header) != row.leaf_hash:
            self._findings.add(ProblemKind.MODIFIED, row.index, row.index, "the header does not give the stored leaf hash")
        try:
            fields = orjson.loads(row.header)
            said = bytes.fromhex(fields["payload_sha256"]), fields["payload_len"], fields["log_id"]
        except (ValueError, KeyError, TypeError):
            self._findings.add(ProblemKind.MODIFIED, row.index, row.index, "the header cannot be read")
            return {}
        if said[2] != head.log_id:
            self._findings.add(ProblemKind.MODIFIED, row.index, row.index, "the header names another log")
        if row.payload is None:
            self._findings.add(ProblemKind.MISSING, row.index, row.index, "the payload is not there")
        elif hashlib.sha256(row.payload).digest() != said[0] or len(row.payload) != said[1]:
            self._findings.add(ProblemKind.MODIFIED, row.index, row.index, "the payload does not give the hash in the header")
        return dict(fields)

    def _check_tree(self, row: LogRow, rid: str) -> None:
        if self._broken or (self.head is not None and row.index >= self.head.size):
            return
        self._tile.append((rid, row.leaf_hash))
        completed = self._tree.append(row.leaf_hash)
        for node in completed:
            stored = self._nodes.pop((node.level, node.position), None)
            if stored == node.hash:
                continue
            if node.level == TILE_HEIGHT and stored is not None:
                self._explain(row.index - TILE_WIDTH + 1, stored)
            else:
                first = node.position << node.level
                kind = ProblemKind.MISSING if stored is None else ProblemKind.MODIFIED
                self._findings.add(kind, first, row.index, f"the stored hash of the subtree of 2^{node.level} records")
        if completed:
            self._tile.clear()

    def _explain(self, first: int, stored: bytes) -> None:
        """Say why a tile does not give its hash: ids grow within a process, so sorting by them undoes a swap."""
        last = first + len(self._tile) - 1
        ordered, moved = self._by_rid(first)
        if moved and hash_tree(ordered) == stored:
            self._findings.add(ProblemKind.REORDERED, moved[0], moved[-1], REORDERED_DETAIL)
        else:
            self._findings.add(ProblemKind.MODIFIED, first, last, "these records do not give the stored hash of their tile")

    def _by_rid(self, first: int) -> tuple[list[bytes], list[int]]:
        """Return the tile's leaf hashes in order of record id, and the indices that this moves."""
        ordered = sorted(self._tile, key=lambda entry: entry[0])
        moved = [first + i for i, entry in enumerate(self._tile) if entry != ordered[i]]
        return [leaf for _, leaf in ordered], moved

    def _open(self, row: LogRow, keyring: Keyring) -> None:
        try:
            unseal(row.header, row.payload or b"", keyring, self._connection)
            self.opened += 1
        except PayloadUnreadable as error:
            self._findings.add(ProblemKind.UNREADABLE, row.index, row.index, str(error))

    def _check_end(self, head: LogHead) -> None:
        if self.next < head.size:
            self._findings.add(ProblemKind.MISSING, self.next, head.size - 1, f"{head.size - self.next} records at the end are not there")
        elif not self._broken and self._tree.root() != head.root:
            self._explain_head(head)
        elif not self._broken and self._tree.peaks_bytes() != head.peaks:
            self._findings.add(ProblemKind.MODIFIED, 0, max(0, head.size - 1), "the stored peaks do not belong to the tree")
        if self._nodes and not self._broken and self.next >= head.size:
            self._findings.add(ProblemKind.INSERTED, head.size, head.size, f"{len(self._nodes)} subtree hashes belong to no record")
        strays = self._connection.count_strays()
        if strays:
            self._findings.add(ProblemKind.INSERTED, 0, max(0, head.size - 1), f"{strays} payloads belong to no record")

    def _explain_head(self, head: LogHead) -> None:
        """Say why the whole does not give the head, all complete tiles being right: it is the last tile, or the head itself."""
        first = self.next - len(self._tile)
        last = max(0, head.size - 1)
        ordered, moved = self._by_rid(first)
        tree = CompactRange(first, self._tree.peaks[: first.bit_count()])
        for leaf in ordered:
            tree.append(leaf)
        if moved and tree.root() == head.root:
            self._findings.add(ProblemKind.REORDERED, moved[0], moved[-1], REORDERED_DETAIL)
        else:
            self._findings.add(ProblemKind.MODIFIED, min(first, last), last, "these records, or the head, were changed")


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record as it is stored, its header read."""

    index: int
    fields: dict[str, str | int]
    header: bytes
    payload: bytes | None  # encrypted
    leaf_hash: bytes


class LogReader:
    """Reads records for whoever may see them. Checks nothing: `verify_log` does."""

    def __init__(self, path: Path, kms: Kms | None = None) -> None:
        """Open the database; the KMS is needed only to open payloads.

        Raises:
            FileNotFoundError: there is no database.
            gateway.audit.kms.KeyFailure: the KMS does not fit.
            sqlite3.Error: the database cannot be read.
        """
        if not path.is_file():
            raise FileNotFoundError(path)
        self._connection = Database(path).connect_log()
        try:
            self._keyring = Keyring.load(self._connection, kms) if kms else None
        except KeyFailure:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StoredRecord]:
        """Yield the records with start <= index < stop, in order."""
        for row in self._connection.load_records(start, stop):
            yield StoredRecord(
                index=row.index, fields=orjson.loads(row.header), header=row.header, payload=row.payload, leaf_hash=row.leaf_hash
            )

    def open_payload(self, record: StoredRecord) -> bytes:
        """Return a payload in clear.

        Raises:
            PayloadUnreadable: no keys were given, the payload was removed, or its key was destroyed or does not fit.
        """
        if self._keyring is None or record.payload is None:
            raise PayloadUnreadable("no keys were given" if self._keyring is None else "the payload was removed")
        return unseal(record.header, record.payload, self._keyring, self._connection)
