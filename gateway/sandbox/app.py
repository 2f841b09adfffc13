"""The sandbox as an ASGI application: FHIR over HTTP, reading only.

    GET  metadata | {type}/{id} | {type}?...     POST {type}/_search (form)     POST / (batch of GETs)

Limits are ours: page size, body size, entries of a batch. Errors are OperationOutcomes that echo nothing of the request.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from gateway.sandbox.answers import FHIR_JSON, batch_response, capability_statement, outcome, searchset
from gateway.sandbox.fixture import Resource
from gateway.sandbox.store import SEARCH_PARAMETERS, ResourceStore, SearchError

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Answer = tuple[int, Resource]

PAGE_DEFAULT = 20  # as HAPI
PAGE_MAX = 1000
BODY_BYTES_MAX = 1_000_000
BATCH_ENTRIES_MAX = 100
_RESULT_PARAMETERS = frozenset({"_count", "_total", "_include", "_format", "_offset"})

_NOT_FOUND: _Answer = (404, outcome("not-found", "There is no such resource."))
_READ_ONLY: _Answer = (405, outcome("not-supported", "The sandbox only reads."))
_encode = msgspec.json.Encoder().encode


class SandboxApp:
    """An ASGI application over a ResourceStore. `base_path` is where it is mounted, e.g. `/fhir`."""

    def __init__(self, store: ResourceStore, *, base_path: str = "/fhir", version: str = "0", date: str = "2026-01-01") -> None:
        self._store = store
        self._base_path = base_path.rstrip("/")
        self._version = version
        self._date = date

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request; accept the lifespan protocol."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            status, resource = await self._answer_request(scope, receive)
            await _respond(send, status, _encode(resource), _header(scope, b"x-request-id"))

    async def _answer_request(self, scope: _Scope, receive: _Receive) -> _Answer:
        path: str = scope["path"]
        if path != self._base_path and not path.startswith(f"{self._base_path}/"):
            return _NOT_FOUND
        base_url = self._base_url(scope)
        inner = path[len(self._base_path) :].strip("/")
        if scope["method"] in {"GET", "HEAD"}:
            return self._get(base_url, inner, scope["query_string"].decode("latin-1"))
        if scope["method"] != "POST":
            return _READ_ONLY
        body = await _read_body(receive)
        if body is None:
            return (413, outcome("too-long", "The request is larger than the sandbox allows."))
        return self._post(base_url, inner, body)

    def _base_url(self, scope: _Scope) -> str:
        host = _header(scope, b"host").decode("latin-1") or "localhost"
        return f"{scope.get('scheme', 'http')}://{host}{self._base_path}"

    def _post(self, base_url: str, inner: str, body: bytes) -> _Answer:
        if not inner:
            return self._batch(base_url, body)
        kind, _, step = inner.partition("/")
        if step == "_search":
            return self._search(base_url, kind, body.decode("utf-8", "replace"))
        return _READ_ONLY

    def _get(self, base_url: str, inner: str, query: str) -> _Answer:
        if inner == "metadata":
            return (200, capability_statement(base_url, self._version, self._date))
        kind, slash, resource_id = inner.partition("/")
        if kind not in SEARCH_PARAMETERS:
            return (404, outcome("not-supported", "This resource type is not served."))
        if not slash:
            return self._search(base_url, kind, query)
        found = self._store.read(kind, resource_id)
        return _NOT_FOUND if found is None else (200, found)

    def _search(self, base_url: str, kind: str, query: str) -> _Answer:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=50)
            wishes = {name: value for name, value in pairs if name in _RESULT_PARAMETERS}
            criteria = [(name, value) for name, value in pairs if name not in _RESULT_PARAMETERS]
            count, offset = _window(wishes)
            found = self._store.search(kind, criteria)
            shown = found[offset : offset + count]
            included = self._store.included(shown, kind, wishes["_include"]) if "_include" in wishes else []
        except SearchError as error:
            return (400, outcome("not-supported", str(error)))
        except ValueError:
            return (400, outcome("invalid", "The query is not readable."))
        one_page = offset == 0 and len(found) <= count
        total = len(found) if one_page or wishes.get("_total") == "accurate" else None
        links = _links(f"{base_url}/{kind}", pairs, offset, count, len(found))
        return (200, searchset(base_url, shown, included, total=total, links=links))

    def _batch(self, base_url: str, body: bytes) -> _Answer:
        try:
            bundle = msgspec.json.decode(body, type=_Batch)
        except msgspec.MsgspecError:
            return (400, outcome("structure", "The body is not a batch Bundle."))
        if bundle.resource_type != "Bundle" or bundle.type != "batch":
            return (400, outcome("invalid", "Only Bundles of type batch are taken."))
        if len(bundle.entry) > BATCH_ENTRIES_MAX:
            return (413, outcome("too-costly", "The batch has more entries than the sandbox allows."))
        return (200, batch_response(self._batched(base_url, entry.request) for entry in bundle.entry))

    def _batched(self, base_url: str, request: "_Request") -> _Answer:
        if request.method != "GET":
            return _READ_ONLY
        inner, _, query = request.url.strip("/").partition("?")
        return self._get(base_url, inner, query)


class _Request(msgspec.Struct):
    method: str
    url: str


class _BatchEntry(msgspec.Struct):
    request: _Request


class _Batch(msgspec.Struct):
    resource_type: str = msgspec.field(name="resourceType")
    type: str
    entry: list[_BatchEntry] = []


def _window(wishes: dict[str, str]) -> tuple[int, int]:
    """Return page size and offset; a page size above the maximum is capped, as servers do."""
    count = int(wishes.get("_count", PAGE_DEFAULT))
    offset = int(wishes.get("_offset", 0))
    if count < 1 or offset < 0:
        raise ValueError("not a window")
    return min(count, PAGE_MAX), offset


def _links(url: str, pairs: list[tuple[str, str]], offset: int, count: int, found: int) -> dict[str, str]:
    links = {"self": f"{url}?{urlencode(pairs)}"}
    if offset + count < found:
        kept = [(name, value) for name, value in pairs if name != "_offset"]
        links["next"] = f"{url}?{urlencode([*kept, ('_offset', str(offset + count))])}"
    return links


def _header(scope: _Scope, name: bytes) -> bytes:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key == name), b"")


async def _read_body(receive: _Receive) -> bytes | None:
    """Return the request's body, or None when it is larger than allowed."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _respond(send: _Send, status: int, body: bytes, request_id: bytes) -> None:
    headers = [(b"content-type", FHIR_JSON.encode()), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    if request_id:
        headers.append((b"x-request-id", request_id))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
