"""The wire below httpx: aiohttp's connections under httpx's API.

httpx's own transport costs six times as much per pull (serving.md 0.3). The published bridge between the two is not used, because it
re-encodes URLs (a server's `next` link must be followed exactly as sent), keeps cookies, reports a reset connection as a connect
time-out, and sets no bound on a body. This one: no redirects, no cookies, no environment proxies, no decompression but ours, and the
body is read whole, within limits, before the caller sees a status.
"""

import asyncio
import ssl

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from gateway.fhir.inflate import BodyRefused, BoundedBody
from gateway.fhir.limits import FhirLimits, SourcePolicy

_TIMEOUTS_MAX = 64
_LINE_BYTES_MAX = 16 * 1024
_TIMEOUT_UNSET = aiohttp.ClientTimeout()
# Headers that describe the wire and are no longer true of the body handed up; and cookies, which would tie one request to the next.
_WIRE_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"set-cookie"})


class BodyRefusedError(httpx.TransportError):
    """The response's body broke one of our limits; repeating the request would break it again."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport over one aiohttp session. Must be used within one event loop.

    `body_bytes_max` and `inflate_ratio_max` bound every response; `connections_max` bounds the open connections.
    Errors are httpx's own: ConnectTimeout, ConnectError, ReadTimeout, ReadError, RemoteProtocolError; and BodyRefusedError.
    """

    def __init__(self, *, body_bytes_max: int, inflate_ratio_max: int, connections_max: int, tls: ssl.SSLContext | None = None) -> None:
        self._body_bytes_max = body_bytes_max
        self._inflate_ratio_max = inflate_ratio_max
        self._connections_max = connections_max
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[tuple[float | None, float | None, float | None], aiohttp.ClientTimeout] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its whole response, the body decompressed."""
        try:
            return await self._exchange(request)
        except BodyRefused as error:
            raise BodyRefusedError(str(error)) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            raise httpx.ReadTimeout("no answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError("no connection") from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise httpx.ReadError("the connection ended early") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise httpx.RemoteProtocolError("the exchange broke HTTP") from error

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        async with self._open_session().request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=CIMultiDict((name.decode("ascii"), value.decode("ascii")) for name, value in request.headers.raw),
            data=await request.aread() or None,
            allow_redirects=False,
            timeout=self._timeout(request),
        ) as answer:
            body = BoundedBody(answer.headers.get("Content-Encoding", ""), self._body_bytes_max, self._inflate_ratio_max)
            async for piece in answer.content.iter_any():
                body.feed(piece)
            headers = [(name, value) for name, value in answer.raw_headers if name.lower() not in _WIRE_HEADERS]
            return httpx.Response(answer.status, headers=headers, content=body.finish())

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._connections_max,
                limit_per_host=self._connections_max,
                ssl=self._tls or True,
                loop=asyncio.get_running_loop(),
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                raise_for_status=False,
                timeout=_TIMEOUT_UNSET,
                max_line_size=_LINE_BYTES_MAX,
                max_field_size=_LINE_BYTES_MAX,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._session

    def _timeout(self, request: httpx.Request) -> aiohttp.ClientTimeout:
        given = request.extensions.get("timeout", {})
        key = (given.get("connect"), given.get("read"), given.get("pool"))
        timeout = self._timeouts.get(key)
        if timeout is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=key[0], sock_read=key[1], connect=key[2])
            if len(self._timeouts) < _TIMEOUTS_MAX:  # callers use few different ones; a stream of others must not fill the memory
                self._timeouts[key] = timeout
        return timeout


class _NoCookies(httpx.Cookies):
    """Keeps nothing: a cookie would tie one patient's request to the next."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave the response's cookies where they are."""


class _CookielessClient(httpx.AsyncClient):
    """httpx's client without a memory."""

    @property
    def cookies(self) -> httpx.Cookies:
        """An empty jar that stays empty."""
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        """Ignore what is given."""


_NO_COOKIES = _NoCookies()


def open_http_client(limits: FhirLimits, policy: SourcePolicy, auth: httpx.Auth | None) -> httpx.AsyncClient:
    """Return an httpx client over this transport: no redirects, no environment, no cookies, every body bounded."""
    tls = ssl.create_default_context(cafile=policy.ca_file) if policy.ca_file else None
    transport = AiohttpTransport(
        body_bytes_max=limits.body_bytes_max, inflate_ratio_max=limits.inflate_ratio_max, connections_max=limits.connections_max, tls=tls
    )
    return _CookielessClient(transport=transport, auth=auth, follow_redirects=False, trust_env=False)
