"""The audit log of a process: append and be sure.

`append` returns after its records are on stable storage, all in one commit, or it raises and the answer must not leave. The order of the
records is decided by one writer thread; many callers share one commit.
"""

import asyncio
import secrets
import socket
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from gateway.audit.access import find_abandoned
from gateway.audit.boot import BootLock, boot_directory, forget_dead, is_alive
from gateway.audit.key_watch import KeyWatch
from gateway.audit.keys import Keyring, create_keys
from gateway.audit.kms import KeyFailure, Kms
from gateway.audit.record import Receipt, RecordDraft, RidMaker, check_facts
from gateway.audit.seal import Instant, Origin, Sealer
from gateway.audit.tail import TailBroken, append_sealed, load_head, verify_tail
from gateway.audit.waiter import Waiter, unavailable
from gateway.audit.writer import Writer
from gateway.clock import Clock, SystemClock
from gateway.store import Database, LogConnection, LogHead, StoreError, open_database
from gateway.telemetry import AUDIT_WAIT_SECONDS

QUEUE_WAITERS_MAX = 1_024
APPEND_TIMEOUT_S = 2.0  # rules: the wait for the audit is min(2 s, what is left of the deadline)
CLOSE_TIMEOUT_S = 10.0

OpenStore = Callable[[Path], Database]


class AuditLogError(Exception):
    """The log cannot be opened; the text says why and holds no secret and no PHI."""


class AuditLog:
    """Appends to one log. Safe to use from several event loops; made by `AuditLog.open`."""

    def __init__(self, database: Database, kms: Kms, writer: Writer, boot: BootLock, *, on_loop: bool = False) -> None:
        self._database = database
        self._key_health = KeyWatch(kms.health).health if kms.remote else kms.health
        self._writer = writer
        self._presealer = writer.make_presealer()
        self._boot = boot
        self._closed = False
        self._on_loop = on_loop
        self._together: list[Waiter] = []  # asked for since the loop last turned
        self._writer.start()

    @classmethod
    def open(
        cls,
        path: Path,
        kms: Kms,
        *,
        clock: Clock | None = None,
        node: str | None = None,
        open_store: OpenStore = open_database,
        on_loop: bool = False,
    ) -> Self:
        """Open or create the database and the log, verify its tail, mark what a dead process left open, start the writer.

        `open_store` is the door to the database; tests hand in one that fails. `on_loop`: the caller's event loop has nothing else to do,
        so it writes itself; only one loop may then use the log.

        Raises:
            AuditLogError: the place is unfit, the keys do not fit, or the stored log is broken.
        """
        try:
            database = open_store(path)
        except StoreError as error:
            raise AuditLogError(str(error)) from error
        boot = None
        try:
            boot = BootLock(boot_directory(database.path))
            writer = _prepare(database, kms, clock or SystemClock(), node or socket.gethostname(), boot.boot_id)
        except (sqlite3.Error, OSError, KeyFailure, TailBroken) as error:
            database.dispose()
            if boot:
                boot.release()
            told = str(error) if isinstance(error, KeyFailure | TailBroken) else type(error).__name__
            raise AuditLogError(f"the audit log cannot be opened: {told}") from error
        return cls(database, kms, writer, boot, on_loop=on_loop)

    @property
    def log_id(self) -> str:
        """Return the name of the log: the first part of every receipt."""
        return self._writer.head.log_id

    @property
    def size(self) -> int:
        """Return how many records were durable when this process last wrote."""
        return self._writer.head.size

    async def append(self, drafts: Sequence[RecordDraft], timeout_s: float = APPEND_TIMEOUT_S) -> tuple[Receipt, ...]:
        """Append the drafts in one commit and return one receipt for each, once they are on stable storage.

        A record that becomes durable after its caller gave up, or was cancelled, is followed by NOT_DELIVERED.

        Raises:
            gateway.errors.Unavailable: not durable within `timeout_s`; whatever was to be answered must not leave.
            ValueError: a header or payload is larger than its limit, or there is no draft.
        """
        if not drafts:
            raise ValueError("there is nothing to append")
        if self._closed or self._writer.not_accepting:
            raise unavailable(self._writer.not_accepting or "the audit log is closed")
        if self._writer.queue.qsize() >= QUEUE_WAITERS_MAX:
            raise unavailable("too many records wait to be written")
        loop = asyncio.get_running_loop()
        waiter = Waiter(drafts, loop)
        waiter.sealed = None if self._on_loop else self._presealer.seal(waiter.drafts)
        if waiter.sealed is None:
            for draft in drafts:
                draft.payload_bytes()  # refuses what is too large before anybody waits for it
        timer = loop.call_later(max(0.0, timeout_s), waiter.give_up)
        started = loop.time()
        self._hand_over(waiter, loop)
        try:
            return await waiter.wait()
        except asyncio.CancelledError:
            if waiter.leave():
                self._writer.mark_not_delivered(waiter)
            raise
        finally:
            timer.cancel()
            AUDIT_WAIT_SECONDS.observe(loop.time() - started)

    def _hand_over(self, waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        if not self._on_loop:
            self._writer.queue.put(waiter)
            return
        if not self._together:
            loop.call_soon(self._write_together)
        self._together.append(waiter)

    def _write_together(self) -> None:
        """Write what was asked for in one turn of the loop; leave it to the writer's thread where that has work already."""
        batch, self._together = self._together, []
        if not self._writer.write_now(batch):
            for waiter in batch:
                self._writer.queue.put(waiter)

    def healthy(self) -> tuple[bool, str]:
        """Tell whether records are accepted and can be read again after a restart, and if not, why."""
        if self._closed:
            return False, "the audit log is closed"
        if not self._writer.alive:
            return False, self._writer.not_accepting or "the audit writer has ended"
        if self._writer.not_accepting:
            return False, self._writer.not_accepting
        keys = self._key_health()
        return keys.usable, keys.reason

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Write what is queued and let go of everything; tell whether it was done in time. Refuses what comes after."""
        if self._closed:
            return True
        self._closed = True
        done = self._writer.stop(timeout_s)
        self._boot.release()
        self._database.dispose()
        return done

    async def aclose(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Do as `close` without holding up the event loop."""
        if self._together:
            self._write_together()
        return await asyncio.to_thread(self.close, timeout_s)


def _prepare(database: Database, kms: Kms, clock: Clock, node: str, boot_id: str) -> Writer:
    """Bring log, keys and boot row into being, mark what was abandoned, and hand the connection to a writer."""
    connection = database.connect_log()
    try:
        instant = Instant.of(clock)
        now = instant.at
        connection.begin()
        connection.create_head(f"log-{secrets.token_hex(8)}", now.isoformat())
        create_keys(connection, kms, now)
        keyring = Keyring.load(connection, kms)
        head = load_head(connection)
        verify_tail(connection, head)
        check_facts({"node": node})
        sealer = Sealer(keyring, connection, Origin(log_id=head.log_id, node=node, boot_id=boot_id))
        head = _mark_abandoned(connection, head, sealer, instant, boot_directory(database.path))
        connection.insert_boot(boot_id, node, now.isoformat(), head.size)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return Writer(database, connection, head, sealer, clock)


def _mark_abandoned(connection: LogConnection, head: LogHead, sealer: Sealer, instant: Instant, boots: Path) -> LogHead:
    """Within the open transaction: write ABANDONED for every ACCESS of a dead process that has no end."""
    dead = [boot for boot in connection.load_boots() if not is_alive(boots, boot.boot_id)]
    if not dead:
        return head
    headers = connection.load_headers(min(boot.scan_from for boot in dead))
    rids = RidMaker()
    sealed = [
        sealer.seal_abandoned(fields, rids.make(instant.at), tuple(connection.load_tokens(index)), instant)
        for index, fields in find_abandoned(headers, frozenset(boot.boot_id for boot in dead))
    ]
    if sealed:
        head, _ = append_sealed(connection, head, sealed)
    for boot in dead:
        connection.delete_boot(boot.boot_id)
        forget_dead(boots, boot.boot_id)
    return head
