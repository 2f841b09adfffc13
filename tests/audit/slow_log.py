"""A log whose commits wait at a gate."""

import asyncio
import time
from pathlib import Path

from gateway.audit import AuditLog, KeyFileKms
from gateway.store import Database, LogConnection, open_database


class Gate:
    """Holds the commit of a log until it is let through."""

    def __init__(self) -> None:
        self.closed = False
        self.waiting = False
        self.sleep_s = 0.001

    def pass_through(self) -> None:
        while self.closed:
            self.waiting = True
            time.sleep(self.sleep_s)
        self.waiting = False

    async def until_waiting(self) -> None:
        async with asyncio.timeout(5):
            while not self.waiting:
                await asyncio.sleep(0.001)


class SlowConnection(LogConnection):
    """Commits only when the gate is open."""

    gate: Gate

    def commit(self) -> None:
        self.gate.pass_through()
        super().commit()


class SlowDatabase(Database):
    """Hands out connections behind one gate."""

    gate: Gate

    def connect_log(self) -> LogConnection:
        connection = SlowConnection(super().connect_log().raw)
        connection.gate = self.gate
        return connection


def open_slow(database: Path, kms: KeyFileKms, gate: Gate) -> AuditLog:
    def open_store(path: Path) -> Database:
        open_database(path).dispose()
        store = SlowDatabase(path)
        store.gate = gate
        return store

    return AuditLog.open(database, kms, open_store=open_store)
