"""The FHIR client: one patient's record, pulled within one deadline.

    Patient read ─┐
    searches ─────┤ one batch where proven, else in parallel, at most six at a time
                  └─ each search follows its `next` links into a Haul, which says what may be concluded

Only the Patient can fail the pull; a search that fails becomes the state of its group (rules 3 and 6).
"""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator
from typing import Self

import httpx

from gateway.clock import Clock, Deadline
from gateway.errors import BadRequest, ErrorCode, GatewayError, NotAllowed, NotFound, Upstream, UpstreamTimeout
from gateway.fhir.address import AddressError, FhirBase, check_id
from gateway.fhir.breaker import CircuitBreaker
from gateway.fhir.bundle import HeldResource, Page, PageError, decode_batch, decode_page, decode_resource
from gateway.fhir.capability import Capability, decode_capability
from gateway.fhir.exchange import Exchange, PullBudget, UnfetchedError, encode_batch
from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.fhir.haul import Haul
from gateway.fhir.knowledge import DEFAULT_PAGE_MAX, DEFAULT_PAGE_MIN, SourceKnowledge, Trust
from gateway.fhir.limits import FhirLimits, SourcePolicy
from gateway.fhir.plan import FetchPlan, Search
from gateway.fhir.quiet import silence_http_loggers
from gateway.fhir.transport import open_http_client
from gateway.telemetry import GROUPS, PULL_SECONDS

# A search refused with one of these may be answered in another form: a parameter is not known, or the address is too long.
_REFUSED_FORM = frozenset({400, 414, 422, 501})
_GONE = frozenset({404, 410})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_ADDRESSES_MAX = 1000
_PROOF_TIME_SHARE = 3.0  # a batch is tried out only when this many times the pull's own duration is left


class FhirClient:
    """Fetches from one FHIR server. One instance per source, used within one event loop; `aclose` when done.

    `randomness` jitters retries. `auth` adds credentials to every request (httpx's Auth flow).
    """

    def __init__(
        self,
        base_url: str,
        *,
        limits: FhirLimits,
        clock: Clock,
        policy: SourcePolicy | None = None,
        randomness: random.Random | None = None,
        auth: httpx.Auth | None = None,
    ) -> None:
        silence_http_loggers()
        self._base = FhirBase(base_url)
        self._limits = limits
        self._clock = clock
        self._policy = policy or SourcePolicy()
        self._client = open_http_client(limits, self._policy, auth)
        self._exchange = Exchange(self._client, limits, clock, randomness or random.SystemRandom(), compression=self._policy.compression)
        self._known = SourceKnowledge(clock, limits, self._policy)
        self._breaker = CircuitBreaker(clock, failures_max=limits.breaker_failures, open_s=limits.breaker_open_s)
        self._bulkhead = asyncio.Semaphore(limits.pulls_at_once_max)
        self._proving = asyncio.Lock()
        self._addresses: dict[tuple[Search, bool], str] = {}
        self._capability_task: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """The base URL without a trailing slash."""
        return self._base.url

    @property
    def uses_batch(self) -> bool:
        """Tell whether the next pull sends its searches as one batch."""
        return self._known.uses_batch

    async def aclose(self) -> None:
        """End background work and close all connections."""
        if self._capability_task is not None:
            self._capability_task.cancel()
            await asyncio.gather(self._capability_task, return_exceptions=True)
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def fetch(
        self, patient_id: str, plan: FetchPlan, deadline: Deadline, request_id: str, *, fallback: FetchPlan | None = None
    ) -> FetchedRecord:
        """Return the patient's record as far as the server gave it, every group with its state.

        `fallback` holds, for groups whose search may be refused as such (400: the parameter is not known), the search to try instead.
        Raises BadRequest (malformed id), NotFound, NotAllowed, Upstream or UpstreamTimeout when the Patient cannot be had.
        """
        started = self._clock.monotonic()
        pull = self._prepare(patient_id, plan, fallback, deadline, request_id)
        if not self._breaker.admit():
            raise Upstream(ErrorCode.PATIENT_NOT_FETCHED, "The FHIR server is not available.", detail="the circuit is open")
        try:
            async with self._judged_by_breaker():
                with contextlib.suppress(TimeoutError):  # what arrived until then counts; the rest says so itself
                    async with asyncio.timeout(pull.budget.remaining_s()), self._bulkhead:
                        await self._run(pull)
                if pull.patient is None:
                    raise UpstreamTimeout(ErrorCode.PATIENT_TIMEOUT, "The FHIR server did not give the Patient in time.")
        finally:
            self._learn_capability()
        record = pull.record(self._base.url)
        PULL_SECONDS.observe(self._clock.monotonic() - started)
        for part in record.parts:
            GROUPS.add(part.state.value)
        return record

    async def fetch_capability(self, deadline: Deadline) -> Capability:
        """Return the server's CapabilityStatement, from memory while it is fresh. Raises Upstream or UpstreamTimeout."""
        known = self._known.capability
        if known is not None:
            return known
        budget = PullBudget(self._clock, self._limits, deadline.remaining_s(), "")
        try:
            async with asyncio.timeout(budget.remaining_s()):
                body = await self._exchange.get(self._base.absolute("metadata"), budget)
            self._known.capability = capability = decode_capability(body)
        except TimeoutError as error:
            raise UpstreamTimeout(ErrorCode.PATIENT_TIMEOUT, "The FHIR server did not describe itself in time.") from error
        except (UnfetchedError, PageError) as error:
            raise Upstream(ErrorCode.PATIENT_NOT_FETCHED, "The FHIR server did not describe itself.", detail=str(error)) from error
        return capability

    # --- one pull -----------------------------------------------------------------------------------------------------------------

    def _prepare(self, patient_id: str, plan: FetchPlan, fallback: FetchPlan | None, deadline: Deadline, request_id: str) -> "_Pull":
        try:
            check_id(patient_id)
        except AddressError as error:
            raise BadRequest(ErrorCode.INVALID_PATIENT_ID, "The patient id is not a FHIR id.") from error
        budget_s = self._limits.budget_s(deadline.remaining_s())
        budget = PullBudget(self._clock, self._limits, budget_s, request_id if _REQUEST_ID.fullmatch(request_id) else "")
        instead = {search.group: search for search in fallback.searches} if fallback else {}
        hauls = tuple(
            Haul(search, self._limits, fallback=instead.get(search.group), harmless=self._policy.harmless_outcomes)
            for search in plan.searches
        )
        return _Pull(patient_id, hauls, budget)

    async def _run(self, pull: "_Pull") -> None:
        if self._known.uses_batch and pull.hauls:
            await self._run_batch(pull)
        await self._run_parallel(pull)
        await self._prove_batch(pull)

    async def _run_parallel(self, pull: "_Pull") -> None:
        """Read the Patient and finish every search, at most `requests_at_once_max` exchanges at a time."""
        tasks = [asyncio.create_task(self._finish_haul(pull, haul)) for haul in pull.hauls if not haul.finished]
        try:
            if pull.patient is None:
                pull.patient = await self._read_patient(pull)
            if tasks:
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_patient(self, pull: "_Pull") -> HeldResource:
        try:
            body = await self._exchange.get(self._base.absolute(self._base.read("Patient", pull.patient_id)), pull.budget)
            patient = decode_resource(body)
        except UnfetchedError as error:
            raise _patient_error(error) from error
        except PageError as error:
            raise Upstream(ErrorCode.PATIENT_NOT_FETCHED, "The FHIR server did not give the Patient.", detail=str(error)) from error
        if not _is_patient(patient, pull.patient_id):
            raise Upstream(ErrorCode.PATIENT_NOT_FETCHED, "The FHIR server gave something other than the Patient.")
        return patient

    async def _finish_haul(self, pull: "_Pull", haul: Haul) -> None:
        """Fetch the pages that are still missing. Never raises for a failure of the server: the haul holds it."""
        try:
            if haul.next_url is None:
                haul.take(await self._first_page(pull, haul))
            while haul.next_url is not None:
                haul.take(decode_page(await self._exchange.get(self._base.follow(haul.next_url), pull.budget)))
        except UnfetchedError as error:
            haul.fail(error.state, error.why)
        except (PageError, AddressError) as error:
            haul.fail(GroupState.NOT_FETCHED, str(error))

    async def _first_page(self, pull: "_Pull", haul: Haul) -> Page:
        """Return the first page, in the wide form of the search where the narrow one is refused."""
        group, instead = haul.search.group, haul.fallback
        if instead is not None and self._known.refuses_search(group):
            return await self._page_of(pull, instead)
        try:
            return await self._page_of(pull, haul.search)
        except UnfetchedError as refused:
            if instead is None or refused.status not in _REFUSED_FORM:
                raise
        page = await self._page_of(pull, instead)
        self._known.search_refused(group)
        return page

    async def _page_of(self, pull: "_Pull", search: Search) -> Page:
        """Return a search's first page, asking for the total unless that was seen to do harm.

        Some servers answer an unknown parameter with an empty result: until this one has answered with rows, an empty answer is
        asked for again without the parameter.
        """
        trust = self._known.total
        if trust is Trust.OFF:
            return await self._get_page(pull, search, total=False)
        try:
            page = await self._get_page(pull, search, total=True)
        except UnfetchedError as refused:
            if trust is Trust.PROVEN or refused.status not in _REFUSED_FORM:
                raise
            page = await self._get_page(pull, search, total=False)
            self._known.total_refused()
            return page
        if page.resources:
            self._known.total_proved()
        elif trust is Trust.UNPROVEN and self._known.total is not Trust.PROVEN:
            page = await self._get_page(pull, search, total=False)
            if page.resources:
                self._known.total_refused()
        return page

    async def _get_page(self, pull: "_Pull", search: Search, *, total: bool) -> Page:
        address = self._address(search, pull.patient_id, total=total)
        return decode_page(await self._exchange.get(self._base.absolute(address), pull.budget))

    def _address(self, search: Search, patient_id: str, *, total: bool) -> str:
        """Return the search's address. Plans are few and long-lived: everything but the patient is put together once."""
        key = (search, total)
        address = self._addresses.get(key)
        if address is None:
            parameters = [*search.parameters, ("_count", str(self._limits.page_entries)), *([("_total", "accurate")] if total else [])]
            address = self._base.search(search.resource_type, parameters)
            if len(self._addresses) < _ADDRESSES_MAX:
                self._addresses[key] = address
        return f"{address}&patient={check_id(patient_id)}"

    # --- batch --------------------------------------------------------------------------------------------------------------------

    async def _run_batch(self, pull: "_Pull") -> None:
        """Take from one batch what is beyond doubt; everything else is left to the parallel path, which asks again."""
        searches = [self._batched_search(haul) for haul in pull.hauls]
        answers = await self._post_batch(pull, [None, *searches])
        if answers is None:
            return
        patient, *results = answers
        pull.patient = _believed_patient(patient, pull.patient_id)
        proven = self._known.batch is Trust.PROVEN
        for haul, body in zip(pull.hauls, results, strict=True):
            page = _believed_page(body, proven=proven)
            if page is not None and _claims_more(page):
                self._known.batch_refused()
            elif page is not None:
                haul.take(page)

    def _batched_search(self, haul: Haul) -> Search:
        refused = haul.fallback is not None and self._known.refuses_search(haul.search.group)
        return haul.fallback if refused and haul.fallback is not None else haul.search

    async def _post_batch(self, pull: "_Pull", searches: list[Search | None]) -> list[bytes | None] | None:
        """Return the body of each entry (None where it failed) or None when the batch as such failed. None in `searches`: the Patient."""
        total = self._known.total is Trust.PROVEN
        try:
            addresses = [
                self._base.read("Patient", pull.patient_id) if search is None else self._address(search, pull.patient_id, total=total)
                for search in searches
            ]
            answers = decode_batch(await self._exchange.post_batch(self._base.url, encode_batch(addresses), pull.budget))
        except UnfetchedError as error:
            (self._known.batch_failed if error.transient else self._known.batch_refused)()
            return None
        except AddressError:  # a search that cannot be written: alone, only its own group fails
            return None
        except PageError:
            self._known.batch_refused()
            return None
        if len(answers) != len(addresses):
            self._known.batch_refused()
            return None
        return [answer.body if answer.status == 200 else None for answer in answers]  # noqa: PLR2004 -- the only status with a result

    async def _prove_batch(self, pull: "_Pull") -> None:
        """Find out, once, whether a batch returns as much as the search alone: with this pull's own largest search, if time allows."""
        candidate = max((haul for haul in pull.hauls if haul.is_complete), key=lambda haul: len(haul.first_page), default=None)
        if candidate is None or len(candidate.first_page) <= DEFAULT_PAGE_MAX or not self._known.may_prove_batch or self._proving.locked():
            return
        if pull.budget.remaining_s() < _PROOF_TIME_SHARE * pull.budget.elapsed_s:
            return
        async with self._proving:
            answers = await self._post_batch(pull, [self._batched_search(candidate)])
            page = _believed_page(answers[0], proven=True) if answers else None
            if page is None or {held.identity for held in page.resources} != {held.identity for held in candidate.first_page}:
                self._known.batch_refused()
            else:
                self._known.batch_proved()

    # --- around it ----------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _judged_by_breaker(self) -> AsyncIterator[None]:
        """Tell the breaker how the pull ended."""
        try:
            yield
        except Upstream:
            self._breaker.failed()
            raise
        except GatewayError:
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.left()
            raise
        self._breaker.succeeded()

    def _learn_capability(self) -> None:
        """Read the CapabilityStatement in the background where it is needed and not known. It holds no patient data."""
        if self._known.batch is not Trust.UNPROVEN or self._known.capability is not None:
            return
        if self._capability_task is None or self._capability_task.done():
            self._capability_task = asyncio.create_task(self._read_capability())

    async def _read_capability(self) -> None:
        with contextlib.suppress(Upstream):  # a server that does not describe itself gets no batches
            await self.fetch_capability(Deadline(self._clock, self._limits.capability_wait_s_max))


class _Pull:
    """One pull in progress."""

    def __init__(self, patient_id: str, hauls: tuple[Haul, ...], budget: PullBudget) -> None:
        self.patient_id = patient_id
        self.hauls = hauls
        self.budget = budget
        self.patient: HeldResource | None = None

    def record(self, base_url: str) -> FetchedRecord:
        """Return what arrived."""
        patient = () if self.patient is None else (self.patient.body,)
        parts = (
            RecordPart(groups=(Group.PATIENT,), state=GroupState.COMPLETE, resources=patient),
            *(haul.part() for haul in self.hauls),
        )
        return FetchedRecord(patient_id=self.patient_id, parts=parts, base_url=base_url)


def _patient_error(error: UnfetchedError) -> GatewayError:
    """Return what an unfetched Patient means for the caller (rules 6)."""
    if error.status in _GONE:
        return NotFound(ErrorCode.PATIENT_NOT_FOUND, "The FHIR server does not know this patient.")
    if error.state is GroupState.NOT_ALLOWED:
        return NotAllowed(ErrorCode.PATIENT_FORBIDDEN, "The FHIR server does not allow access to this patient.")
    return Upstream(ErrorCode.PATIENT_NOT_FETCHED, "The FHIR server did not give the Patient.", detail=error.why)


def _is_patient(resource: HeldResource, patient_id: str) -> bool:
    return resource.resource_type == "Patient" and resource.id == patient_id


def _believed_patient(body: bytes | None, patient_id: str) -> HeldResource | None:
    """Return the Patient of a batch; None leaves it to a read of its own, whose status is authoritative."""
    if body is None:
        return None
    with contextlib.suppress(PageError):
        patient = decode_resource(body)
        return patient if _is_patient(patient, patient_id) else None
    return None


def _believed_page(body: bytes | None, *, proven: bool) -> Page | None:
    """Return a batched search's page if it can be relied on: nothing may hide behind a default page without links or total."""
    if body is None:
        return None
    with contextlib.suppress(PageError):
        page = decode_page(body)
        told = page.next_url is not None or page.total is not None or len(page.resources) < DEFAULT_PAGE_MIN
        return page if proven or told else None
    return None


def _claims_more(page: Page) -> bool:
    """Tell whether the page was cut off: fewer matches than its total, and no way on."""
    matches = sum(not held.included for held in page.resources)
    return page.next_url is None and page.total is not None and page.total > matches
