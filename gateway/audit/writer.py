"""The one thread that writes the log of a process: takes what is queued, seals it, commits it, wakes the callers.

States: accepting (normal) and not accepting with a reason. An error of the store stops the writing: the callers of that batch are refused,
the connection is closed, opened again, the tail is verified, a small write is tried, and only then is anything accepted again.
"""

import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.audit.access import OpenAccesses
from gateway.audit.kms import KeyFailure
from gateway.audit.preseal import Presealer
from gateway.audit.record import Receipt, RecordDraft, RidMaker
from gateway.audit.seal import Instant, SealedRecord, Sealer
from gateway.audit.tail import TailBroken, append_sealed, reload_head, verify_tail
from gateway.audit.waiter import Waiter, not_delivered, resolve_all, unavailable
from gateway.clock import Clock
from gateway.store import Database, LogConnection, LogHead

BATCH_RECORDS_MAX = 64
WAL_RECORDS_MAX = 16_384  # move the write-ahead log into the database after so many records ...
IDLE_S = 0.2  # ... or in the first moment without work
BOOT_MARK_RECORDS = 4_096  # how often the index is noted from which the next start looks for open ends
WAKE: Final = Waiter((), None)  # nothing to write: the thread looks about
REOPEN_WAIT_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Writer:
    """Owns the connection, the keyring, the head and the thread. Everything else speaks to it through `queue`."""

    def __init__(self, database: Database, connection: LogConnection, head: LogHead, sealer: Sealer, clock: Clock) -> None:
        self.queue: queue.SimpleQueue[Waiter | None] = queue.SimpleQueue()
        self.not_accepting: str | None = None
        self.head = head
        self._database = database
        self._connection = connection
        self._sealer = sealer
        self._clock = clock
        self._rids = RidMaker()
        self._open = OpenAccesses()
        self._unmarked = 0  # records since the boot row was moved
        self._in_wal = 0  # records since the last checkpoint of the write-ahead log
        self._in_doubt: _Doubt | None = None  # the batch whose commit has been asked for and has not answered
        self._stopping = False  # asked to end: do not wait for a store that fails
        self._ending = False  # the mark of the end was met in the queue
        self._turn = threading.Lock()  # held by whoever uses the connection: the thread, or a caller in `write_now`
        self._failure: Exception | None = None  # of the store, met by `write_now`; the thread recovers from it
        self._written_at = 0.0
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)

    def make_presealer(self) -> Presealer:
        """Return a sealer for the callers' thread, over the same keys."""
        return Presealer(self._sealer.keyring, self._sealer.origin, self._clock)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write what is queued, then end the thread and close the connection; tell whether that was done in time."""
        self._stopping = True
        self.queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def write_now(self, batch: Sequence[Waiter]) -> bool:
        """Write on the caller's thread, which waits for the disk, unless something stands before it; tell whether that was done.

        For a loop that has little else to do: handing each batch to another thread and back costs more than writing it.
        """
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self.not_accepting or not self.queue.empty():
                return False
            idle = self._in_wal == 0
            self._write_or_refuse(batch)
            self._written_at = time.monotonic()
        except Exception:  # noqa: BLE001 - told to the callers of the batch, and by `not_accepting` to all who come later
            return True
        finally:
            self._turn.release()
        if idle or self._failure is not None:
            self.queue.put(WAKE)  # to tidy in the next idle moment, or to recover
        return True

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (batch := self._take()) is not None:
                with self._turn:
                    self._work(batch)
            self._close()
        except Exception as error:  # noqa: BLE001 - a bug here must end in refusals, not in callers that wait for ever
            self.not_accepting = f"the audit writer failed ({type(error).__name__})"
            self._refuse_queued()

    def _work(self, batch: Sequence[Waiter]) -> None:
        self._recover_where_needed()
        if batch:
            self._write_or_refuse(batch)
            self._recover_where_needed()
        elif time.monotonic() - self._written_at >= IDLE_S:
            self._tidy()
            self._recover_where_needed()

    def _take(self) -> list[Waiter] | None:
        """Return what is queued, up to the size of a batch; empty after an idle moment; None when all is written and the end asked for."""
        batch: list[Waiter] = []
        records = 0
        while records < BATCH_RECORDS_MAX:
            try:
                waiter = self._next(wait=not batch)
            except queue.Empty:
                break
            if waiter is None:
                self._ending = True  # what stands behind the mark is still written
                continue
            if waiter is not WAKE:
                batch.append(waiter)
                records += len(waiter.drafts)
            elif not batch:
                return []
        return None if self._ending and not batch else batch

    def _next(self, *, wait: bool) -> Waiter | None:
        if not wait or self._ending:
            return self.queue.get_nowait()
        return self.queue.get(timeout=IDLE_S if self._in_wal else None)

    def _tidy(self) -> None:
        """Move the write-ahead log into the database. Waits for nobody."""
        try:
            self._connection.checkpoint_wal()
        except sqlite3.Error as error:
            if not _is_busy(error):
                self._fail(error)
        self._in_wal = 0

    def _write_or_refuse(self, batch: Sequence[Waiter]) -> None:
        """Write; a bug of ours ends in refusals, not in callers that wait, and is raised again."""
        try:
            self._write(batch)
        except Exception as error:
            self.not_accepting = f"the audit writer failed ({type(error).__name__})"
            self._undo()
            resolve_all([waiter for waiter in batch if waiter.fail(unavailable(self.not_accepting))])
            raise

    def _write(self, batch: Sequence[Waiter]) -> None:
        try:
            settled = self._commit(batch)
        except (sqlite3.Error, TailBroken) as error:
            if not _is_busy(error):  # said before anybody hears of the failure, so that who asks next is not told that all is well
                self._fail(error)
            self._undo()
            resolve_all([waiter for waiter in batch if waiter.fail(unavailable(f"the audit store failed ({_name_of(error)})"))])
            return
        resolve_all(settled)

    def _commit(self, batch: Sequence[Waiter]) -> list[Waiter]:
        """Write a batch in one transaction; return the waiters whose callers are to be woken."""
        instant = Instant.of(self._clock)
        self._connection.begin()
        sealed: list[SealedRecord] = []
        places: list[_Place] = []
        refused: list[Waiter] = []
        for waiter in batch:
            place = _Place(waiter, len(sealed), marked=waiter.gave_up)
            try:
                sealed += self._presealed(waiter) or self._seal(waiter.drafts, instant, gave_up=place.marked)
                places.append(place)
            except (KeyFailure, ValueError) as error:
                if waiter.fail(error if isinstance(error, ValueError) else unavailable(str(error))):
                    refused.append(waiter)
        if not sealed:
            self._undo()
            return refused
        head, first = append_sealed(self._connection, self.head, sealed)
        self._mark_boot(head, len(sealed))
        self._in_doubt = _Doubt(places, sealed, first)
        self._connection.commit()
        self._in_doubt = None
        self.head = head
        self._open.keep()
        self._sealer.keyring.share()
        self._in_wal += len(sealed)
        if self._in_wal >= WAL_RECORDS_MAX:
            self._tidy()
        return refused + self._settle(places, sealed, first)

    def _presealed(self, waiter: Waiter) -> Sequence[SealedRecord]:
        """Return what the caller's thread sealed, taken into account; nothing when there is none, or when nobody waits any more."""
        if waiter.sealed is None or waiter.gave_up:
            return ()
        for draft, record in zip(waiter.drafts, waiter.sealed, strict=True):
            self._open.note(draft, record.rid, self.head.size)
        return waiter.sealed

    def _seal(self, drafts: Sequence[RecordDraft], instant: Instant, *, gave_up: bool) -> list[SealedRecord]:
        """Seal the drafts of one waiter, and what says that their answer was never sent where nobody waits any more."""
        mark = self._open.mark()
        try:
            rids = [draft.rid or self._rids.make(instant.at) for draft in drafts]
            sealed = [self._seal_one(draft, rid, instant) for draft, rid in zip(drafts, rids, strict=True)]
            if gave_up:
                sealed += [self._seal_one(draft, self._rids.make(instant.at), instant) for draft in not_delivered(drafts, rids)]
        except (KeyFailure, ValueError):
            self._open.undo(mark)
            raise
        return sealed

    def _seal_one(self, draft: RecordDraft, rid: str, instant: Instant) -> SealedRecord:
        return self._sealer.seal(draft, rid, self._open.note(draft, rid, self.head.size), instant)

    def _settle(self, places: Sequence["_Place"], sealed: Sequence[SealedRecord], first: int) -> list[Waiter]:
        settled: list[Waiter] = []
        for place in places:
            if place.waiter.settle(self._receipts(place, sealed, first)):
                settled.append(place.waiter)
            elif not place.marked:
                self.mark_not_delivered(place.waiter)
        return settled

    def _receipts(self, place: "_Place", sealed: Sequence[SealedRecord], first: int) -> tuple[Receipt, ...]:
        return tuple(
            Receipt(log_id=self.head.log_id, index=first + i, leaf_hash=sealed[i].leaf_hash, rid=sealed[i].rid)
            for i in range(place.start, place.start + len(place.waiter.drafts))
        )

    def mark_not_delivered(self, waiter: Waiter) -> None:
        """Queue the records which say that the answer of a durable record was never sent."""
        drafts = not_delivered(waiter.drafts, [receipt.rid for receipt in waiter.receipts])
        if drafts:
            self.queue.put(Waiter(drafts, None))

    def _mark_boot(self, head: LogHead, records: int) -> None:
        self._unmarked += records
        if self._unmarked >= BOOT_MARK_RECORDS:
            self._connection.move_boot(self._sealer.origin.boot_id, self._open.index_min(head.size))
            self._unmarked = 0

    # -- when the store fails -----------------------------------------------------------------------------------------

    def _undo(self) -> None:
        """Take back what the open transaction did, here and in the store."""
        self._open.undo()
        self._sealer.keyring.forget()
        self._unmarked = 0
        try:
            self._connection.rollback()
        except sqlite3.Error:
            self._connection.close()  # closing undoes it as well; the next step opens it again

    def _fail(self, error: Exception) -> None:
        self.not_accepting = f"the audit store failed ({_name_of(error)})"
        self._failure = error

    def _recover_where_needed(self) -> None:
        if self._failure is not None:
            self._failure = None
            self._recover()
            self._mark_survivors()

    def _recover(self) -> None:
        """Re-open, verify the tail, try a write; repeat until it works or the end is asked for."""
        attempt = 0
        while not self._stopping:
            self._refuse_queued()
            try:
                self._reopen()
            except (sqlite3.Error, TailBroken) as again:
                self.not_accepting = f"the audit store failed ({_name_of(again)})"
                time.sleep(REOPEN_WAIT_S[min(attempt, len(REOPEN_WAIT_S) - 1)])
                attempt += 1
                continue
            self.not_accepting = None
            return

    def _reopen(self) -> None:
        self._connection.close()
        connection = self._database.connect_log()
        try:
            connection.begin()
            head = reload_head(connection, self.head)
            verify_tail(connection, head, self.head)
            connection.probe_boot(self._sealer.origin.boot_id, self._clock.now().isoformat())
            connection.commit()
        except (sqlite3.Error, TailBroken):
            connection.close()
            raise
        self._connection = connection
        self._sealer.connection = connection
        self.head = head

    def _mark_survivors(self) -> None:
        """After an error at the commit the batch may yet be durable: its callers were refused, so say that nothing was sent."""
        doubt, self._in_doubt = self._in_doubt, None
        if doubt is None or self.head.size <= doubt.first:
            return
        hashes = [record.leaf_hash for record in doubt.sealed]
        if self._connection.load_leaf_hashes(doubt.first, doubt.first + len(hashes)) != hashes:
            return
        for place in doubt.places:
            if not place.marked:
                place.waiter.receipts = self._receipts(place, doubt.sealed, doubt.first)
                self.mark_not_delivered(place.waiter)

    def _refuse_queued(self) -> None:
        refused: list[Waiter] = []
        while True:
            try:
                waiter = self.queue.get_nowait()
            except queue.Empty:
                break
            if waiter is None:
                self._ending = True
            elif waiter is not WAKE and waiter.fail(unavailable(self.not_accepting or "the audit log is closed")):
                refused.append(waiter)
        resolve_all(refused)

    def _close(self) -> None:
        """End cleanly: where nothing is left open the next start has nothing to look for."""
        self.not_accepting = "the audit log is closed"
        self._refuse_queued()
        try:
            if len(self._open):
                self._connection.move_boot(self._sealer.origin.boot_id, self._open.index_min(self.head.size))
            else:
                self._connection.delete_boot(self._sealer.origin.boot_id)
            self._connection.checkpoint_wal()
        except sqlite3.Error:
            pass  # the records are durable; what is lost is a hint that only makes the next start faster
        self._connection.close()


class _Place(msgspec.Struct, frozen=True):
    """Where a waiter's records lie in a batch, and whether the batch says already that nobody waits for them."""

    waiter: Waiter
    start: int
    marked: bool = False


class _Doubt(msgspec.Struct, frozen=True):
    """A batch of which it is not known whether it is durable."""

    places: list[_Place]
    sealed: list[SealedRecord]
    first: int


def _is_busy(error: Exception) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY


def _name_of(error: Exception) -> str:
    """Return what may be told of an error of the store: its code, never its text."""
    if isinstance(error, TailBroken):
        return str(error)
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
