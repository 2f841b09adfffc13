"""Answers of the framework itself (unknown route, wrong method) in our own form."""

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.exchange import FHIR_JSON
from gateway.errors import ErrorCode, GatewayError, NotFound
from gateway.results.outcome import operation_outcome


class _MethodNotAllowed(GatewayError):
    http_status = 405
    issue_type = "not-supported"


def add_error_answers(app: FastAPI) -> None:
    """Turn the framework's HTTP errors into OperationOutcomes."""

    async def answer(_request: Request, raised: Exception) -> Response:
        status = raised.status_code if isinstance(raised, HTTPException) else 500
        error = _error(status)
        return Response(orjson.dumps(operation_outcome(error)), status_code=error.http_status, media_type=FHIR_JSON)

    app.add_exception_handler(HTTPException, answer)
    app.add_exception_handler(Exception, answer)


def _error(status: int) -> GatewayError:
    if status == 404:  # noqa: PLR2004 - the HTTP status itself
        return NotFound(ErrorCode.UNKNOWN_ROUTE, "There is nothing at this address.")
    if status == 405:  # noqa: PLR2004 - the HTTP status itself
        return _MethodNotAllowed(ErrorCode.METHOD_NOT_ALLOWED, "This address does not answer this method.")
    return GatewayError(ErrorCode.INTERNAL, "The gateway failed; nothing was answered.")
