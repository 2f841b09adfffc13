"""A server as small as can be for the kill harness: each request appends ACCESS, then RESULT, and answers with the receipt.

With `--early-ack` it answers before the commit, on purpose: the harness must notice.
"""

import argparse
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn

from gateway.audit import AuditLog, EventType, KeyFileKms, RecordDraft
from gateway.errors import Unavailable
from gateway.identity import Caller, TenantId
from gateway.store import Database, LogConnection, open_database

LINGER_S = 0.25  # longer than a busy loop takes to send an answer: on a slow machine 20 ms were over before the client had it
CALLER = Caller(client_id="kill-client", tenant=TenantId("ward"), user="dr-kill")


class EarlyConnection(LogConnection):
    """Says that a transaction is durable and lets it linger: a tempting way to make commits cheaper, and a wrong one."""

    started = False
    pending = False
    pending_since = 0.0

    def commit(self) -> None:
        if self.started:
            self.pending_since = self.pending_since if self.pending else time.monotonic()
            self.pending = True
        else:
            super().commit()
        self.started = True

    def begin(self) -> None:
        if self.pending and time.monotonic() - self.pending_since < LINGER_S:
            return
        self._flush()
        super().begin()

    def checkpoint_wal(self) -> None:
        self._flush()
        super().checkpoint_wal()

    def close(self) -> None:
        self._flush()
        super().close()

    def _flush(self) -> None:
        if self.pending:
            self.pending = False
            super().commit()


class EarlyDatabase(Database):
    """Hands out connections that acknowledge before the commit."""

    def connect_log(self) -> LogConnection:
        return EarlyConnection(super().connect_log().raw)


def open_early(path: Path) -> Database:
    open_database(path).dispose()
    return EarlyDatabase(path)


class App:
    """The ASGI application."""

    def __init__(self, database: Path, keys: Path, *, early: bool) -> None:
        self._open = lambda: AuditLog.open(database, KeyFileKms(keys), open_store=open_early if early else open_database)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] == "/ready":
            await _answer(send, 200 if self.log.healthy()[0] else 503, "")
        else:
            await self._assess(scope, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        async with self._opened():
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        self.log = self._open()
        try:
            yield
        finally:
            await self.log.aclose()

    async def _assess(self, scope: dict[str, Any], send: Any) -> None:
        request_id = dict(scope["headers"])[b"x-request-id"].decode()
        try:
            await self.log.append([_draft(EventType.ACCESS, request_id)])
            (receipt,) = await self.log.append([_draft(EventType.RESULT, request_id)])
        except Unavailable:
            await _answer(send, 503, "")
            return
        await _answer(send, 200, str(receipt))


def _draft(kind: EventType, request_id: str) -> RecordDraft:
    return RecordDraft(type=kind, caller=CALLER, request_id=request_id, patient_id=f"p{hash(request_id) % 50}", payload=b"x" * 1500)


async def _answer(send: Any, status: int, receipt: str) -> None:
    headers = [(b"content-length", b"0"), *([(b"audit-receipt", receipt.encode())] if receipt else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--early-ack", action="store_true")
    options = parser.parse_args()
    app = App(options.database, options.keys, early=options.early_ack)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error", access_log=False, loop="asyncio")


if __name__ == "__main__":
    main()
