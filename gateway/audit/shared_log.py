"""One audit log for several server processes: the process that owns the log writes, the others ask it.

    LogHost      beside the `AuditLog`, one per server process: appends what that process asks for, tells it whether the log is healthy
    SharedLog    in a server process: the same promises as `AuditLog.append`, kept across the border

Two processes on one SQLite log wait for each other's lock (decision 0011); one writer for all is what the group commit is made for.
What must hold across the border: an answer leaves only after its record is durable, and a record that became durable after its caller had
given up is followed by NOT_DELIVERED. The owner sees to it for waits that end on its side, and for a process that dies; the asking side
sees to it when the word comes too late.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

import msgspec

from gateway.audit.frames import Frames
from gateway.audit.log import APPEND_TIMEOUT_S, CLOSE_TIMEOUT_S, AuditLog
from gateway.audit.record import Receipt, RecordDraft
from gateway.audit.waiter import not_delivered, unavailable
from gateway.errors import Unavailable
from gateway.telemetry import AUDIT_WAIT_SECONDS

HEALTH_EVERY_S = 0.25
GONE = "the process that writes the audit log is gone"


class _Append(msgspec.Struct, frozen=True, tag="append"):
    number: int
    drafts: tuple[RecordDraft, ...]
    timeout_s: float


class _Appended(msgspec.Struct, frozen=True, tag="appended"):
    number: int
    receipts: tuple[Receipt, ...]


class _Refused(msgspec.Struct, frozen=True, tag="refused"):
    number: int
    detail: str
    invalid: bool  # the draft itself, not the store, is the reason


class _Health(msgspec.Struct, frozen=True, tag="health"):
    healthy: bool
    reason: str


_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(_Append).decode
_decode_answer = msgspec.msgpack.Decoder(_Appended | _Refused | _Health).decode


class LogHost:
    """Serves one other process from the log of this one. Belongs to the event loop that made it."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._frames = Frames(self._asked, self._left)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def serve(self, channel: socket.socket) -> None:
        """Begin to serve on one end of a pair of sockets."""
        await asyncio.get_running_loop().create_connection(lambda: self._frames, sock=channel)
        self._watching = asyncio.create_task(self._tell_health())

    def _asked(self, message: bytes) -> None:
        task = asyncio.create_task(self._append(_decode_question(message)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _append(self, asked: _Append) -> None:
        answer: _Appended | _Refused
        try:
            answer = _Appended(asked.number, await self._log.append(asked.drafts, asked.timeout_s))
        except Unavailable as error:
            answer = _Refused(asked.number, error.detail, invalid=False)
        except ValueError as error:
            answer = _Refused(asked.number, str(error), invalid=True)
        self._frames.send(_encode(answer))

    def _left(self) -> None:
        """The other process is gone: whoever it appended for hears of nothing any more."""
        for task in self._tasks:
            task.cancel()
        if self._watching is not None:
            self._watching.cancel()

    async def _tell_health(self) -> None:
        told = None
        while True:
            health = _Health(*self._log.healthy())
            if health != told:
                self._frames.send(_encode(health))
                told = health
            await asyncio.sleep(HEALTH_EVERY_S)


class _Waiting(msgspec.Struct):
    drafts: tuple[RecordDraft, ...]
    future: asyncio.Future[tuple[Receipt, ...]]


class SharedLog:
    """The log of another process, asked through one end of a pair of sockets. Belongs to the event loop that opened it."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        """`on_lost` is called when the owner of the log is gone: nothing can be answered any more."""
        self._frames = Frames(self._answered, self._lost)
        self._on_lost = on_lost
        self._waiting: dict[int, _Waiting] = {}
        self._number = 0
        self._closing = False
        self._settled = asyncio.Event()
        self._health = _Health(healthy=False, reason="the audit log has not been heard of yet")

    @classmethod
    async def open(cls, channel: socket.socket, on_lost: Callable[[], None]) -> "SharedLog":
        """Return the log behind a channel."""
        log = cls(on_lost)
        await asyncio.get_running_loop().create_connection(lambda: log._frames, sock=channel)
        return log

    async def append(self, drafts: Sequence[RecordDraft], timeout_s: float = APPEND_TIMEOUT_S) -> tuple[Receipt, ...]:
        """Append the drafts in one commit and return one receipt for each, once they are on stable storage.

        Raises:
            gateway.errors.Unavailable: not durable within `timeout_s`; whatever was to be answered must not leave.
            ValueError: a header or payload is larger than its limit, or there is no draft.
        """
        if not drafts:
            raise ValueError("there is nothing to append")
        if self._closing or not self._frames.is_open:
            raise unavailable(GONE)
        loop = asyncio.get_running_loop()
        packed = tuple([_packed(draft) for draft in drafts])
        self._number += 1
        waiting = self._waiting[self._number] = _Waiting(packed, loop.create_future())
        self._frames.send(_encode(_Append(self._number, packed, timeout_s)))
        timer = loop.call_later(max(0.0, timeout_s), _give_up, waiting.future)
        started = loop.time()
        try:
            return await waiting.future
        finally:
            timer.cancel()
            AUDIT_WAIT_SECONDS.observe(loop.time() - started)

    def healthy(self) -> tuple[bool, str]:
        """Tell whether records are accepted, and if not, why."""
        if self._closing or not self._frames.is_open:
            return False, GONE
        return self._health.healthy, self._health.reason

    async def aclose(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait for what was asked, then hang up; tell whether all was answered in time."""
        self._closing = True
        if self._waiting:
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), timeout_s)
        self._frames.close()
        return not self._waiting

    def _answered(self, message: bytes) -> None:
        answer = _decode_answer(message)
        if isinstance(answer, _Health):
            self._health = answer
            return
        waiting = self._waiting.pop(answer.number)
        if not self._waiting:
            self._settled.set()
        if waiting.future.done():  # given up, or cancelled
            if isinstance(answer, _Appended):
                self._mark_not_delivered(waiting, answer.receipts)
        elif isinstance(answer, _Appended):
            waiting.future.set_result(answer.receipts)
        else:
            waiting.future.set_exception(ValueError(answer.detail) if answer.invalid else unavailable(answer.detail))

    def _mark_not_delivered(self, waiting: _Waiting, receipts: Sequence[Receipt]) -> None:
        """The records are durable, and whoever asked has left: say so in the log."""
        drafts = not_delivered(waiting.drafts, [receipt.rid for receipt in receipts])
        if not drafts or not self._frames.is_open:
            return
        self._number += 1
        loop = asyncio.get_running_loop()
        self._waiting[self._number] = marked = _Waiting(tuple(drafts), loop.create_future())
        marked.future.add_done_callback(_look_at)
        self._frames.send(_encode(_Append(self._number, marked.drafts, APPEND_TIMEOUT_S)))

    def _lost(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            if not one.future.done():
                one.future.set_exception(unavailable(GONE))
        if not self._closing:
            self._on_lost()


def _packed(draft: RecordDraft) -> RecordDraft:
    """Return the draft with its payload as bytes.

    Raises:
        ValueError: the payload is larger than the limit.
    """
    payload = draft.payload_bytes()
    return draft if payload is draft.payload else msgspec.structs.replace(draft, payload=payload)


def _give_up(future: asyncio.Future[tuple[Receipt, ...]]) -> None:
    if not future.done():
        future.set_exception(unavailable("the record was not durable within the time"))


def _look_at(future: asyncio.Future[tuple[Receipt, ...]]) -> None:
    """Take note of an outcome that nobody waits for; the owner of the log logs its own failures."""
    if not future.cancelled():
        future.exception()
