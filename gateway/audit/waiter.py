"""One request to append, and whoever waits for it. Decides exactly once whether the caller hears of the record or gave up before."""

import asyncio
import enum
import threading
from collections.abc import Iterable, Sequence

from gateway.audit.record import EventType, Outcome, Receipt, RecordDraft
from gateway.audit.seal import SealedRecord
from gateway.errors import ErrorCode, Unavailable


class WaiterState(enum.Enum):
    """Where a request to append stands."""

    PENDING = enum.auto()
    DURABLE = enum.auto()  # written; the caller will hear of it
    GAVE_UP = enum.auto()  # the caller left or its time was over before the record was written
    FAILED = enum.auto()  # not written


_STATE_LOCK = threading.Lock()  # held for a comparison and an assignment, never across a call


class Waiter:
    """A batch of drafts of one caller. The writer settles it from its thread, the caller's loop gives it up from its own."""

    def __init__(self, drafts: Sequence[RecordDraft], loop: asyncio.AbstractEventLoop | None) -> None:
        self.drafts = tuple(drafts)
        self.loop = loop
        self.future: asyncio.Future[tuple[Receipt, ...]] | None = loop.create_future() if loop else None
        self.sealed: tuple[SealedRecord, ...] | None = None  # set before it is queued, where the caller's thread could seal
        self.receipts: tuple[Receipt, ...] = ()
        self.error: Exception | None = None
        self._state = WaiterState.PENDING if loop else WaiterState.GAVE_UP

    @property
    def gave_up(self) -> bool:
        """Tell whether nobody waits any more."""
        return self._state is WaiterState.GAVE_UP

    def settle(self, receipts: tuple[Receipt, ...]) -> bool:
        """Note that the records are durable; tell whether the caller will hear of it. Called by the writer."""
        self.receipts = receipts
        return self._move(WaiterState.DURABLE)

    def fail(self, error: Exception) -> bool:
        """Note that the records were not written; tell whether the caller will hear of it. Called by the writer."""
        self.error = error
        return self._move(WaiterState.FAILED)

    def give_up(self) -> None:
        """End the wait because the time is over. Called on the caller's loop."""
        if self._move(WaiterState.GAVE_UP) and self.future is not None and not self.future.done():
            self.future.set_exception(unavailable("the record was not durable within the time"))

    def leave(self) -> bool:
        """End the wait because the caller was cancelled; tell whether the record is durable already and nobody hears of it."""
        return not self._move(WaiterState.GAVE_UP) and self._state is WaiterState.DURABLE

    async def wait(self) -> tuple[Receipt, ...]:
        """Return the receipts once the records are durable.

        Raises:
            gateway.errors.Unavailable: they are not, or not in time.
            ValueError: a record could not be sealed.
        """
        if self.future is None:
            raise ValueError("nobody waits for these records")
        return await self.future

    def resolve(self) -> None:
        """Hand the outcome to the caller. Called on the caller's loop."""
        if self.future is None or self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.receipts)

    def _move(self, to: WaiterState) -> bool:
        with _STATE_LOCK:
            if self._state is not WaiterState.PENDING:
                return False
            self._state = to
            return True


def unavailable(detail: str) -> Unavailable:
    """Return the refusal for "the audit record is not durable"."""
    return Unavailable(ErrorCode.AUDIT_UNAVAILABLE, "The audit record could not be made durable, so nothing is answered.", detail=detail)


def resolve_all(waiters: Iterable[Waiter]) -> None:
    """Wake the callers, with one call per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
    for waiter in waiters:
        if waiter.loop is not None:
            by_loop.setdefault(waiter.loop, []).append(waiter)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, group)
        except RuntimeError:
            continue  # the loop was closed: nobody is left to hear of it


def _resolve(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        waiter.resolve()


def not_delivered(drafts: Sequence[RecordDraft], rids: Sequence[str]) -> list[RecordDraft]:
    """Return the records which say that an answer was never sent: one for the last draft of each request and patient. Pure."""
    last = {(draft.request_id, draft.caller.tenant, draft.patient_id): (draft, rid) for draft, rid in zip(drafts, rids, strict=True)}
    return [
        RecordDraft(
            type=EventType.NOT_DELIVERED,
            outcome=Outcome.MINOR_FAILURE,
            caller=draft.caller,
            request_id=draft.request_id,
            patient_id=draft.patient_id,
            patient_system=draft.patient_system,
            trace_id=draft.trace_id,
            caused_by=rid,
        )
        for draft, rid in last.values()
        if draft.type is not EventType.NOT_DELIVERED
    ]
