"""Single exchanges with one FHIR server: reads with retries inside the pull's budget, and the one POST that only reads (a batch)."""

import asyncio
import random

import httpx
import msgspec

from gateway.clock import Clock
from gateway.fhir.group import GroupState
from gateway.fhir.limits import FhirLimits
from gateway.fhir.retry import RETRIED_STATUSES, parse_retry_after, wait_s
from gateway.fhir.transport import BodyRefusedError

_REFUSALS = {401: "the server did not accept our credentials", 403: "the server does not allow it"}
_WORDS = {
    204: "the server answered without content",
    404: "the server does not know the address",
    410: "the server no longer has it",
    429: "the server asks us to slow down",
}


class UnfetchedError(Exception):
    """Something could not be had: `why` in our own words, `status` 0 when no answer came, `transient` when asking later may help."""

    def __init__(self, why: str, *, state: GroupState = GroupState.NOT_FETCHED, status: int = 0, transient: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.state = state
        self.status = status
        self.transient = transient


class PullBudget:
    """What one pull may use: time, bytes, requests at once. Shared by all of its exchanges."""

    def __init__(self, clock: Clock, limits: FhirLimits, budget_s: float, request_id: str) -> None:
        self._clock = clock
        self._started_at = clock.monotonic()
        self._ends_at = self._started_at + budget_s
        self._bytes_left = limits.pull_bytes_max
        self.request_id = request_id
        self.slots = asyncio.Semaphore(limits.requests_at_once_max)

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the pull began."""
        return self._clock.monotonic() - self._started_at

    def remaining_s(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self._ends_at - self._clock.monotonic())

    def spend_bytes(self, size: int) -> None:
        """Count a body. Raises UnfetchedError when the pull grew too large."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise UnfetchedError("the record is larger than allowed")


class Exchange:
    """One source's HTTP: an httpx client, and the rules of when to ask again."""

    def __init__(
        self, client: httpx.AsyncClient, limits: FhirLimits, clock: Clock, randomness: random.Random, *, compression: bool = True
    ) -> None:
        self._client = client
        self._headers = httpx.Headers(
            {
                "Accept": "application/fhir+json",
                "Accept-Encoding": "gzip" if compression else "identity",
                # Fresh results: HAPI answers an identical search from a cache for 60 s. Never `no-store`: there it truncates.
                "Cache-Control": "no-cache",
                "User-Agent": "clinical-inference-gateway",
            }
        )
        self._limits = limits
        self._clock = clock
        self._randomness = randomness
        self._timeout = {"connect": limits.connect_s_max, "read": None, "write": None, "pool": None}

    async def get(self, url: str, budget: PullBudget) -> bytes:
        """Return the body of a 200 answer. Tries again where that helps and time is left. Raises UnfetchedError."""
        attempt = 1
        while True:
            try:
                return await self._once("GET", url, budget)
            except _Passing as passing:
                pause_s = wait_s(attempt, passing.asked_s, self._limits, self._randomness)
                if attempt >= self._limits.attempts_max or pause_s >= budget.remaining_s():
                    raise passing.unfetched from passing
            await asyncio.sleep(pause_s)
            attempt += 1

    async def post_batch(self, url: str, body: bytes, budget: PullBudget) -> bytes:
        """Return the body of a 200 answer to a batch of GETs. Never repeated. Raises UnfetchedError."""
        try:
            return await self._once("POST", url, budget, body)
        except _Passing as passing:
            raise passing.unfetched from passing

    async def _once(self, method: str, url: str, budget: PullBudget, body: bytes | None = None) -> bytes:
        # Built by hand: the client's own builder merges headers, cookies and parameters anew for every request, at twice the cost.
        request = httpx.Request(method, url, content=body, headers=self._headers_for(budget, body), extensions={"timeout": self._timeout})
        try:
            async with budget.slots:
                response = await self._client.send(request)
        except BodyRefusedError as error:
            raise UnfetchedError("the answer is larger than allowed, or badly encoded") from error
        except httpx.TransportError as error:
            raise _Passing(UnfetchedError(_words_of(error), transient=True)) from error
        budget.spend_bytes(len(response.content))
        if response.status_code == 200:  # noqa: PLR2004 -- the only status that carries a result
            return response.content
        unfetched = _judge_status(response.status_code)
        if response.status_code in RETRIED_STATUSES:
            raise _Passing(unfetched, parse_retry_after(response.headers.get("Retry-After"), self._clock.now()))
        raise unfetched

    def _headers_for(self, budget: PullBudget, body: bytes | None) -> httpx.Headers:
        headers = self._headers.copy()
        if budget.request_id:
            headers["X-Request-ID"] = budget.request_id
        if body is not None:
            headers["Content-Type"] = "application/fhir+json"
        return headers


class _Passing(Exception):
    """A failure after which a read may be tried again, and how long the server asks to wait."""

    def __init__(self, unfetched: UnfetchedError, asked_s: float | None = None) -> None:
        super().__init__()
        self.unfetched = unfetched
        self.asked_s = asked_s


def encode_batch(addresses: list[str]) -> bytes:
    """Return a batch Bundle of GETs of these relative addresses."""
    entries = [{"request": {"method": "GET", "url": address}} for address in addresses]
    return msgspec.json.encode({"resourceType": "Bundle", "type": "batch", "entry": entries})


def _judge_status(status: int) -> UnfetchedError:
    if status in _REFUSALS:
        return UnfetchedError(_REFUSALS[status], state=GroupState.NOT_ALLOWED, status=status)
    if 300 <= status < 400:  # noqa: PLR2004 -- the class of redirects, which are never followed
        return UnfetchedError("the server redirected, which is not followed", status=status)
    words = _WORDS.get(status) or ("the server failed" if status >= 500 else "the server refused the request")  # noqa: PLR2004 -- HTTP
    return UnfetchedError(words, status=status, transient=status in RETRIED_STATUSES)


def _words_of(error: httpx.TransportError) -> str:
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return "the server cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return "the server did not answer in time"
    return "the connection broke"
