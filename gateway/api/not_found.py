"""Answers of the framework itself (unknown route, wrong method) in our own form."""

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.exchange import Answer, Exchange, header_fields
from gateway.errors import ErrorCode, GatewayError, NotFound
from gateway.results.outcome import operation_outcome


class _MethodNotAllowed(GatewayError):
    http_status = 405
    issue_type = "not-supported"


def add_error_answers(app: FastAPI) -> None:
    """Turn the framework's HTTP errors into OperationOutcomes."""

    async def answer(request: Request, raised: Exception) -> Response:
        error = _error(raised.status_code if isinstance(raised, HTTPException) else 500)
        told = Answer(status=error.http_status, body=orjson.dumps(operation_outcome(error)), headers=_allowed(raised))
        exchange = Exchange(request.scope, request.receive, body_bytes_max=0)
        response = Response(told.body, status_code=told.status)
        response.raw_headers = header_fields(told, exchange.request_id)
        return response

    app.add_exception_handler(HTTPException, answer)
    app.add_exception_handler(Exception, answer)


def _allowed(raised: Exception) -> dict[str, str]:
    """Return the Allow header that a 405 must have (RFC 9110 15.5.6)."""
    given = raised.headers if isinstance(raised, HTTPException) and raised.headers else {}
    return {"allow": given["Allow"]} if "Allow" in given else {}


def _error(status: int) -> GatewayError:
    if status == 404:  # noqa: PLR2004 - the HTTP status itself
        return NotFound(ErrorCode.UNKNOWN_ROUTE, "There is nothing at this address.")
    if status == 405:  # noqa: PLR2004 - the HTTP status itself
        return _MethodNotAllowed(ErrorCode.METHOD_NOT_ALLOWED, "This address does not answer this method.")
    return GatewayError(ErrorCode.INTERNAL, "The gateway failed; nothing was answered.")
