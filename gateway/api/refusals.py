"""The trail of refused requests: one record each for known callers, one counted record per ten seconds for strangers (rules 9)."""

import asyncio
from collections import Counter

import msgspec

from gateway.assessment.ports import AuditTrail
from gateway.audit.record import EventType, Outcome, RecordDraft
from gateway.errors import ErrorCode, GatewayError
from gateway.identity import Caller, TenantId
from gateway.telemetry import get_logger

# A flood of bad credentials fills no log: 10,000 failures become at most a record per window and code (audit-security 1.1).
AGGREGATION_WINDOW_S = 10.0
STRANGER = "unauthenticated"

_log = get_logger("gateway.refusals")
_encode = msgspec.json.Encoder().encode


class RefusalLog:
    """Writes refusals to the audit trail. Belongs to one event loop; `run` flushes the counts of strangers."""

    def __init__(self, trail: AuditTrail, tenant: str, *, wait_s_max: float) -> None:
        self._trail = trail
        self._tenant = TenantId(tenant)
        self._wait_s_max = wait_s_max
        self._strangers: Counter[tuple[str, str]] = Counter()

    async def refused(self, operation: str, caller: Caller | None, request_id: str, error: GatewayError) -> None:
        """Record one refusal, or count it where nobody is known.

        Raises:
            gateway.errors.Unavailable: the log is down; the refusal is then answered as that.
        """
        if caller is None:
            self._strangers[operation, error.code.value] += 1
            return
        if error.code is ErrorCode.AUDIT_UNAVAILABLE:
            return  # nothing can be recorded now; the log's own recovery tells the gap
        draft = RecordDraft(
            type=EventType.REFUSED,
            outcome=Outcome.MINOR_FAILURE,
            caller=caller,
            request_id=request_id,
            http_status=error.http_status,
            payload=_encode({"operation": operation, "code": error.code.value}),
        )
        await self._trail.append((draft,), self._wait_s_max)

    async def run(self) -> None:
        """Flush the counts every window, until cancelled; whoever cancels flushes once more."""
        while True:
            await asyncio.sleep(AGGREGATION_WINDOW_S)
            await self.flush()

    async def flush(self) -> None:
        """Write one counted record for each operation and code."""
        counted, self._strangers = self._strangers, Counter()
        drafts = [self._counted(operation, code, count) for (operation, code), count in counted.items()]
        if not drafts:
            return
        try:
            await self._trail.append(drafts, self._wait_s_max)
        except GatewayError as error:
            _log.error("refusals-not-recorded", code=error.code.value, count=sum(counted.values()))
            self._strangers.update(counted)

    def _counted(self, operation: str, code: str, count: int) -> RecordDraft:
        return RecordDraft(
            type=EventType.AUTHN_FAIL,
            outcome=Outcome.MINOR_FAILURE,
            caller=Caller(client_id=STRANGER, tenant=self._tenant),
            request_id=STRANGER,
            http_status=401,
            count=count,
            payload=_encode({"operation": operation, "code": code}),
        )
