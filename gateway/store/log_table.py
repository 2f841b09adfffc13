"""The log's hot path: hand-written SQL on the stdlib driver, one connection per thread.

A statement gives up the interpreter lock and has to win it back, so a batch is one statement per table, not one per record.
"""

import functools
import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

ROOT_OF_NOTHING = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")  # RFC 6962 2.1: SHA-256 of ""


class LogHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head of one log: how many leaves, their tree head, and the peaks from which it grows."""

    log_id: str
    size: int
    root: bytes
    peaks: bytes


class LogRow(msgspec.Struct, frozen=True):
    """One stored record. `payload` is None where it was removed."""

    index: int
    leaf_hash: bytes
    header: bytes
    payload: bytes | None


class BootRow(msgspec.Struct, frozen=True):
    """A process that opened the log and has not closed it."""

    boot_id: str
    scan_from: int


class WrappedKey(msgspec.Struct, frozen=True):
    """A key as it is stored. `wrapped` is None once the key was destroyed."""

    kid: str
    kid_ring: str
    wrapped: bytes | None


@functools.lru_cache(maxsize=512)
def _insert_many(table: str, columns: str, width: int, rows: int) -> str:
    marks = "(" + ",".join("?" * width) + ")"
    return f"INSERT INTO {table} ({columns}) VALUES {','.join([marks] * rows)}"  # noqa: S608 - names are ours, values are bound


class LogConnection:
    """One connection to the log's tables. Not to be shared between threads at the same time.

    Every method may raise `sqlite3.Error`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    @property
    def raw(self) -> sqlite3.Connection:
        """Return the driver's connection, for who wraps it."""
        return self._connection

    def begin(self) -> None:
        """Start a transaction that holds the write lock from the first moment."""
        self._execute("BEGIN IMMEDIATE")

    def begin_read(self) -> None:
        """Start a transaction that sees the log as it is at the first read, whatever is appended meanwhile."""
        self._execute("BEGIN")

    def commit(self) -> None:
        """Make the transaction durable: returns after the sync of the write-ahead log."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def checkpoint_wal(self) -> None:
        """Move what can be moved from the write-ahead log to the database without making anybody wait."""
        self._execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    # -- head ---------------------------------------------------------------------------------------------------------

    def load_head(self) -> LogHead | None:
        """Return the head, or None where the log was not created."""
        row = self._execute(
            "SELECT CAST(log_id AS TEXT), CAST(size AS INTEGER), CAST(root AS BLOB), CAST(peaks AS BLOB) FROM log_head WHERE log_no = 1"
        ).fetchone()
        return LogHead(log_id=row[0], size=row[1], root=row[2], peaks=row[3]) if row else None

    def create_head(self, log_id: str, created_at: str) -> None:
        """Create an empty log unless it exists."""
        self._execute(
            "INSERT INTO log_head (log_no, log_id, size, root, peaks, created_at) VALUES (1, ?, 0, ?, x'', ?) ON CONFLICT DO NOTHING",
            (log_id, ROOT_OF_NOTHING, created_at),
        )

    def move_head(self, old_size: int, head: LogHead) -> bool:
        """Move the head forward if it still stands at `old_size`; tell whether it did."""
        cursor = self._execute(
            "UPDATE log_head SET size = ?, root = ?, peaks = ? WHERE log_no = 1 AND size = ?",
            (head.size, head.root, head.peaks, old_size),
        )
        return cursor.rowcount == 1

    # -- records ------------------------------------------------------------------------------------------------------

    def insert_records(self, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Insert (index, leaf hash, header) of a batch."""
        self._insert("log_record", "idx, leaf_hash, header", rows)

    def insert_payloads(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Insert (index, payload) of a batch."""
        self._insert("log_payload", "idx, payload", rows)

    def insert_tokens(self, rows: Sequence[tuple[bytes, int]]) -> None:
        """Insert (token, index) of a batch."""
        self._insert("log_token", "token, idx", rows)

    def insert_nodes(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """Insert (level, position, hash) of completed subtrees."""
        self._insert("log_node", "level, position, hash", rows)

    def _insert(self, table: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            values = [value for row in rows for value in row]
            self._execute(_insert_many(table, columns, len(rows[0]), len(rows)), values)

    def load_records(self, start: int = 0, stop: int | None = None) -> Iterator[LogRow]:
        """Yield the records with start <= index < stop in order of index, with what is stored, checked by nobody."""
        cursor = self._execute(
            # SQLite keeps any type in any column: whatever stands there now, it is read as bytes.
            "SELECT r.idx, CAST(r.leaf_hash AS BLOB), CAST(r.header AS BLOB), CAST(p.payload AS BLOB) FROM log_record r"
            " LEFT JOIN log_payload p ON p.idx = r.idx"
            " WHERE r.idx >= ? AND r.idx < ? ORDER BY r.idx",
            (start, stop if stop is not None else 2**62),
        )
        return (LogRow(*row) for row in cursor)

    def load_headers(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield (index, header) from `start` on."""
        return iter(self._execute("SELECT idx, CAST(header AS BLOB) FROM log_record WHERE idx >= ? ORDER BY idx", (start,)))

    def load_leaf_hashes(self, start: int, stop: int) -> list[bytes]:
        """Return the leaf hashes with start <= index < stop."""
        rows = self._execute("SELECT CAST(leaf_hash AS BLOB) FROM log_record WHERE idx >= ? AND idx < ? ORDER BY idx", (start, stop))
        return [row[0] for row in rows]

    def load_nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Return the hashes of completed subtrees of 2^level leaves with start <= position < stop."""
        rows = self._execute(
            "SELECT CAST(hash AS BLOB) FROM log_node WHERE level = ? AND position >= ? AND position < ? ORDER BY position",
            (level, start, stop),
        )
        return [row[0] for row in rows]

    def load_all_nodes(self) -> dict[tuple[int, int], bytes]:
        """Return every completed subtree hash by (level, position): one for 256 records."""
        return {
            (level, position): value for level, position, value in self._execute("SELECT level, position, CAST(hash AS BLOB) FROM log_node")
        }

    def load_tokens(self, index: int) -> list[bytes]:
        """Return the search tokens of one record."""
        return [row[0] for row in self._execute("SELECT token FROM log_token WHERE idx = ?", (index,))]

    def count_strays(self) -> int:
        """Count payloads that belong to no record."""
        row = self._execute(
            "SELECT count(*) FROM log_payload p WHERE NOT EXISTS (SELECT 1 FROM log_record r WHERE r.idx = p.idx)"
        ).fetchone()
        return int(row[0])

    # -- boots --------------------------------------------------------------------------------------------------------

    def insert_boot(self, boot_id: str, node: str, started_at: str, scan_from: int) -> None:
        """Note that a process opened the log."""
        self._execute(
            "INSERT INTO log_boot (boot_id, node, started_at, scan_from) VALUES (?, ?, ?, ?)",
            (boot_id, node, started_at, scan_from),
        )

    def move_boot(self, boot_id: str, scan_from: int) -> None:
        """Note below which index every ACCESS of this process has its end."""
        self._execute("UPDATE log_boot SET scan_from = ? WHERE boot_id = ?", (scan_from, boot_id))

    def probe_boot(self, boot_id: str, probed_at: str) -> None:
        """Write something small, to learn whether writing works."""
        self._execute("UPDATE log_boot SET probed_at = ? WHERE boot_id = ?", (probed_at, boot_id))

    def delete_boot(self, boot_id: str) -> None:
        """Note that a process closed the log, or that its open ends were dealt with."""
        self._execute("DELETE FROM log_boot WHERE boot_id = ?", (boot_id,))

    def load_boots(self) -> list[BootRow]:
        """Return the processes that opened the log and did not close it."""
        return [BootRow(*row) for row in self._execute("SELECT boot_id, scan_from FROM log_boot")]

    # -- keys ---------------------------------------------------------------------------------------------------------

    def load_ring_keys(self) -> list[WrappedKey]:
        """Return the ring keys, oldest first; the KMS wrapped them."""
        return [WrappedKey(kid, kid, wrapped) for kid, wrapped in self._execute("SELECT kid, wrapped FROM key_ring ORDER BY version")]

    def insert_ring_key(self, kid: str, version: int, wrapped: bytes, kek_id: str, created_at: str) -> None:
        """Store a ring key."""
        self._execute(
            "INSERT INTO key_ring (kid, version, wrapped, kek_id, created_at) VALUES (?, ?, ?, ?, ?)",
            (kid, version, wrapped, kek_id, created_at),
        )

    def load_named_keys(self, purpose: str) -> list[tuple[int, WrappedKey]]:
        """Return (version, key) of one purpose, oldest first."""
        rows = self._execute("SELECT version, kid_ring, wrapped FROM key_named WHERE purpose = ? ORDER BY version", (purpose,))
        return [(version, WrappedKey(f"{purpose}-{version}", ring, wrapped)) for version, ring, wrapped in rows]

    def insert_named_key(self, purpose: str, version: int, key: WrappedKey, created_at: str) -> None:
        """Store a key of one purpose."""
        self._execute(
            "INSERT INTO key_named (purpose, version, kid_ring, wrapped, created_at) VALUES (?, ?, ?, ?, ?)",
            (purpose, version, key.kid_ring, key.wrapped, created_at),
        )

    def load_patient_key(self, lookup: bytes) -> WrappedKey | None:
        """Return the key of the patient with this look-up token."""
        return _wrapped(self._execute("SELECT kid, kid_ring, wrapped FROM key_patient WHERE lookup = ?", (lookup,)).fetchone())

    def load_patient_key_by_kid(self, kid: str) -> WrappedKey | None:
        """Return a patient's key by its id."""
        return _wrapped(self._execute("SELECT kid, kid_ring, wrapped FROM key_patient WHERE kid = ?", (kid,)).fetchone())

    def insert_patient_key(self, key: WrappedKey, tenant: str, lookup: bytes, lookup_version: int, created_at: str) -> None:
        """Store a patient's key."""
        self._execute(
            "INSERT INTO key_patient (kid, tenant, lookup, lookup_version, kid_ring, wrapped, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key.kid, tenant, lookup, lookup_version, key.kid_ring, key.wrapped, created_at),
        )

    def load_period_key(self, tenant: str, month: str) -> WrappedKey | None:
        """Return the key of one tenant's calendar month."""
        row = self._execute("SELECT kid, kid_ring, wrapped FROM key_period WHERE tenant = ? AND month = ?", (tenant, month)).fetchone()
        return _wrapped(row)

    def load_period_key_by_kid(self, kid: str) -> WrappedKey | None:
        """Return a month's key by its id."""
        return _wrapped(self._execute("SELECT kid, kid_ring, wrapped FROM key_period WHERE kid = ?", (kid,)).fetchone())

    def insert_period_key(self, key: WrappedKey, tenant: str, month: str, created_at: str) -> None:
        """Store a month's key."""
        self._execute(
            "INSERT INTO key_period (kid, tenant, month, kid_ring, wrapped, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (key.kid, tenant, month, key.kid_ring, key.wrapped, created_at),
        )


def _wrapped(row: tuple[str, str, bytes | None] | None) -> WrappedKey | None:
    return WrappedKey(*row) if row else None
