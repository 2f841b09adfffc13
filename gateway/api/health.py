"""Liveness, readiness with reasons, metrics: routes without patient data."""

from collections.abc import Callable, Mapping

import orjson
from starlette.types import Receive, Scope, Send

from gateway.api.exchange import FHIR_JSON, JSON, TEXT, Answer, Exchange, send_answer
from gateway.errors import NotAcceptable
from gateway.results.outcome import operation_outcome

Check = Callable[[], tuple[bool, str]]


class Open:
    """An endpoint without patient data, caller or audit; the test that walks all routes lists each one by name."""

    def __init__(self, answer: Callable[..., Answer]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once."""
        exchange = Exchange(scope, receive, body_bytes_max=0)
        answer = self._answer(**exchange.path_parameters)
        try:
            if answer.media_type != TEXT:
                exchange.check_acceptable()
        except NotAcceptable as error:
            answer = Answer(status=error.http_status, body=orjson.dumps(operation_outcome(error)), media_type=FHIR_JSON)
        await send_answer(send, answer, exchange.request_id)


def live() -> Answer:
    """Say that the process runs."""
    return Answer(status=200, body=b'{"status":"live"}', media_type=JSON)


def readiness(checks: Mapping[str, Check]) -> Callable[[], Answer]:
    """Return an answer that runs every check and names those that fail, in our own words."""

    def answer() -> Answer:
        results = {name: check() for name, check in checks.items()}
        ready = all(good for good, _ in results.values())
        body = {
            "status": "ready" if ready else "not-ready",
            "checks": {name: {"ok": good, "reason": why} for name, (good, why) in results.items()},
        }
        return Answer(status=200 if ready else 503, body=orjson.dumps(body), media_type=JSON)

    return answer


def metrics(render: Callable[[], bytes]) -> Callable[[], Answer]:
    """Return an answer with the metrics in Prometheus' text form."""

    def answer() -> Answer:
        return Answer(status=200, body=render(), media_type=TEXT)

    return answer
