"""The one wrapper around every handler that may touch a patient: request id, caller, refusal record, error body, metric and log line.

A route is wrapped by this class or stands on the short list of routes without patient data in the test that walks them all (rules 9).
"""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import orjson
from starlette.types import Receive, Scope, Send

from gateway.api.authenticate import Authenticator
from gateway.api.exchange import FHIR_JSON, Answer, Exchange, send_answer
from gateway.clock import Clock
from gateway.errors import ErrorCode, GatewayError, NotAllowed, Unavailable
from gateway.identity import Caller, Permission
from gateway.results.outcome import operation_outcome
from gateway.telemetry import get_logger, observe_request, request_context

_log = get_logger("gateway.api")

Handler = Callable[[Exchange, Caller], Awaitable[Answer]]
ErrorForm = Callable[[GatewayError], tuple[bytes, str]]  # body and media type of an error


def fhir_error(error: GatewayError) -> tuple[bytes, str]:
    """Return an error as OperationOutcome, and its media type."""
    return orjson.dumps(operation_outcome(error)), FHIR_JSON


class RefusalTrail(Protocol):
    """Keeps a record of every request that was refused (rules 9)."""

    async def refused(self, operation: str, caller: Caller | None, request_id: str, error: GatewayError) -> None:
        """Record one refusal; a flood of unauthenticated ones is aggregated."""
        ...


class Edge:
    """What all audited endpoints share."""

    def __init__(
        self, authenticator: Authenticator, refusals: RefusalTrail, clock: Clock, *, body_bytes_max: int, concurrency_max: int
    ) -> None:
        self.authenticator = authenticator
        self.refusals = refusals
        self.clock = clock
        self.body_bytes_max = body_bytes_max
        self.concurrency_max = concurrency_max
        self.in_flight = 0
        self.draining = False


class Audited:
    """An ASGI endpoint: `permission` is demanded, `handler` answers, whatever goes wrong is told and recorded."""

    def __init__(self, edge: Edge, operation: str, permission: Permission, handler: Handler, error_form: ErrorForm = fhir_error) -> None:
        self._edge = edge
        self._error_form = error_form
        self.operation = operation
        self.permission = permission
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        exchange = Exchange(scope, receive, body_bytes_max=self._edge.body_bytes_max)
        with request_context(exchange.request_id):
            self._edge.in_flight += 1
            try:
                answer = await self._answer(exchange)
            finally:
                self._edge.in_flight -= 1
            if answer.wanted:
                await send_answer(send, answer, exchange.request_id)
            observe_request(self.operation, answer.status, time.perf_counter() - started)

    async def _answer(self, exchange: Exchange) -> Answer:
        caller: Caller | None = None
        try:
            self._admit()
            caller = self._edge.authenticator.authenticate(exchange)
            self._authorise(caller)
            exchange.check_acceptable()
            return await self._handler(exchange, caller)
        except GatewayError as error:
            return await self._refuse(exchange, caller, error)
        except Exception as fault:  # noqa: BLE001 - the last net: anything unforeseen becomes a 500 without its text, and is recorded
            _log.error("unforeseen", operation=self.operation, exc_info=fault)
            return await self._refuse(exchange, caller, GatewayError(ErrorCode.INTERNAL, "The gateway failed; nothing was answered."))

    def _admit(self) -> None:
        if self._edge.draining:
            raise Unavailable(ErrorCode.SHUTTING_DOWN, "The gateway is shutting down.")
        if self._edge.in_flight > self._edge.concurrency_max:
            raise Unavailable(ErrorCode.OVERLOADED, "Too many requests at once; try again shortly.")

    def _authorise(self, caller: Caller) -> None:
        if not caller.may(self.permission):
            raise NotAllowed(ErrorCode.FORBIDDEN, "This caller may not do that.")

    async def _refuse(self, exchange: Exchange, caller: Caller | None, error: GatewayError) -> Answer:
        _log.warning(
            "refused",
            operation=self.operation,
            code=error.code.value,
            status=error.http_status,
            detail=error.detail,
            exc_info=error.__cause__,
        )
        try:
            if not error.recorded:
                await self._edge.refusals.refused(self.operation, caller, exchange.request_id, error)
        except Unavailable as unavailable:  # the refusal itself could not be recorded: that is the graver news
            error = unavailable
        headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s is not None else {}
        body, media_type = self._error_form(error)
        return Answer(status=error.http_status, body=body, media_type=media_type, headers=headers)
