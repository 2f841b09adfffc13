"""One HTTP exchange: headers and a bounded body in, one answer out.

A thin layer over ASGI, because the framework's own costs more than a model.
"""

import re
import uuid
from collections.abc import Coroutine, Mapping
from typing import cast

import msgspec
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import BadRequest, ErrorCode, NotAcceptable, TooLarge, UnsupportedMedia
from gateway.identity import RequestId

FHIR_JSON = "application/fhir+json; charset=utf-8"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

# RFC 9110 lets a request id be anything; ours must be safe to log and to pass on.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_JSON_TYPES = (b"application/fhir+json", b"application/json", b"text/json")
_ACCEPTABLE = (*_JSON_TYPES, b"application/*", b"*/*")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back: status, body and headers."""

    status: int
    body: bytes
    media_type: str = FHIR_JSON
    headers: Mapping[str, str] = {}
    wanted: bool = True  # False: the client has left, and the answer is not sent


class Exchange:
    """What a handler sees of a request."""

    def __init__(self, scope: Scope, receive: Receive, *, body_bytes_max: int) -> None:
        self._receive = receive
        self._body_bytes_max = body_bytes_max
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.path_parameters: Mapping[str, str] = scope.get("path_params", {})
        self.query: bytes = scope.get("query_string", b"")
        self.client_host: str = (scope.get("client") or ("", 0))[0]
        self.request_id = RequestId(self._request_id())

    def _request_id(self) -> str:
        given = self.headers.get(b"x-request-id", b"").decode("latin-1")
        return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())

    def check_acceptable(self) -> None:
        """Refuse a caller that accepts no JSON. Weights are not weighed: there is one form to choose from.

        Raises:
            NotAcceptable: the Accept header names other media types only.
        """
        accept = self.headers.get(b"accept", b"*/*").lower()
        if accept.strip() and not any(kind in accept for kind in _ACCEPTABLE):
            raise NotAcceptable(ErrorCode.NOT_ACCEPTABLE, "Only JSON is spoken here: accept application/fhir+json or application/json.")

    async def read_json_bytes(self) -> bytes:
        """Return the body, counted as it arrives.

        Raises:
            TooLarge: more than `body_bytes_max` bytes came or were announced.
            UnsupportedMedia: the media type is not JSON.
            BadRequest: the client left.
        """
        media_type = self.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        if media_type not in _JSON_TYPES:
            raise UnsupportedMedia(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "The body must be application/fhir+json or application/json.")
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self._body_bytes_max:
            raise TooLarge(ErrorCode.BODY_TOO_LARGE, "The body is larger than this server accepts.")
        return await self._read()

    async def _read(self) -> bytes:
        message = await self._receive()
        first: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._check_size(len(first))
            return first
        return await self._read_rest(message, first)

    async def _read_rest(self, message: Message, first: bytes) -> bytes:
        chunks, size = [first], len(first)
        while message["type"] == "http.request" and message.get("more_body", False):
            self._check_size(size)
            message = await self._receive()
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
        if message["type"] != "http.request":
            raise BadRequest(ErrorCode.MALFORMED_JSON, "The body did not arrive whole.")
        self._check_size(size)
        return b"".join(chunks)

    def _check_size(self, size: int) -> None:
        if size > self._body_bytes_max:
            raise TooLarge(ErrorCode.BODY_TOO_LARGE, "The body is larger than this server accepts.")

    def client_left(self) -> bool:
        """Tell whether the client has hung up, without waiting.

        `receive` is stepped once by hand: if it returns at once, the only message that can still come is the disconnect.
        """
        waiting = cast("Coroutine[object, None, Message]", self._receive())
        try:
            waiting.send(None)
        except StopIteration as finished:
            return bool(finished.value["type"] == "http.disconnect")
        finally:
            waiting.close()
        return False


def header_fields(answer: Answer, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has, and its own."""
    return [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-request-id", request_id.encode()),
        *((name.encode(), value.encode()) for name, value in answer.headers.items()),
    ]


async def send_answer(send: Send, answer: Answer, request_id: str) -> None:
    """Send one whole answer."""
    await send({"type": "http.response.start", "status": answer.status, "headers": header_fields(answer, request_id)})
    await send({"type": "http.response.body", "body": answer.body})
