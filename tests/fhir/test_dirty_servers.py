"""Every way in which a FHIR server was seen to fail, and what may be concluded from it: never that nothing was measured."""

import asyncio
import datetime as dt
import email.utils
import gzip
import json
import logging
import random
import time
import zlib

import pytest
from dirty_server import Answer, BatchingServer, DirtyServer, gzipped, observation, outcome, page

from gateway.clock import Deadline, SystemClock
from gateway.errors import NotAllowed, NotFound, Upstream, UpstreamTimeout
from gateway.fhir.client import FhirClient
from gateway.fhir.group import Group, GroupState
from gateway.fhir.limits import BatchMode, FhirLimits, SourcePolicy, TotalMode
from gateway.fhir.plan import FetchPlan, Search

pytestmark = pytest.mark.asyncio
CLOCK = SystemClock()
LABS = Search(group=Group.LABORATORY, resource_type="Observation", parameters=(("code", "http://loinc.org|2093-3"),))
PLAN = FetchPlan(searches=(LABS, Search(group=Group.CONDITIONS, resource_type="Condition")))
LIMITS = FhirLimits(backoff_s_first=0.01, backoff_s_max=0.02)
COMPLETE, INCOMPLETE, NOT_FETCHED, NOT_ALLOWED = GroupState.COMPLETE, GroupState.INCOMPLETE, GroupState.NOT_FETCHED, GroupState.NOT_ALLOWED


def client_of(server, *, limits=LIMITS, total=TotalMode.ALWAYS, batch=BatchMode.NEVER, **policy):
    """Return a client for the server, its retries quick and repeatable."""
    return FhirClient(
        server.base_url, limits=limits, clock=CLOCK, randomness=random.Random(7), policy=SourcePolicy(total=total, batch=batch, **policy)
    )


async def pull(server, *, seconds=10.0, plan=PLAN, fallback=None, **how):
    """Pull once with a new client."""
    async with client_of(server, **how) as client:
        return await client.fetch("p1", plan, Deadline(CLOCK, seconds), "request-1", fallback=fallback)


def labs(record):
    """Return the laboratory part."""
    return next(part for part in record.parts if Group.LABORATORY in part.groups)


def http_date(seconds):
    """Return an HTTP-date that many seconds from now."""
    return email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds), usegmt=True)


ONE = page(observation(1))
EMPTY = b'{"resourceType":"Bundle","type":"searchset","entry":[]}'
BOMB = gzipped(Answer(body=b'{"resourceType":"Bundle","type":"searchset","entry":[' + b" " * 8_000_000 + b"]}"))

FAULTS = [
    # what the server does, its answers to the laboratory search, state of the group, resources that arrive
    ("an empty result", [page()], COMPLETE, 0),
    ("an empty result with the usual note", [page(outcome("warning", "not-found"))], COMPLETE, 0),
    ("an empty result with a note by its detail code", [page(outcome("warning", "processing", "4101"))], COMPLETE, 0),
    ("a result", [ONE], COMPLETE, 1),
    ("429 with seconds, then a result", [Answer(429, headers={"Retry-After": "0"}), ONE], COMPLETE, 1),
    ("503 with a date, then a result", [Answer(503, headers={"Retry-After": http_date(-5)}), ONE], COMPLETE, 1),
    ("429 that asks for more time than there is", [Answer(429, headers={"Retry-After": "3600"}), ONE], NOT_FETCHED, 0),
    ("503 with a far date", [Answer(503, headers={"Retry-After": http_date(3600)}), ONE], NOT_FETCHED, 0),
    ("500 once", [Answer(500), ONE], COMPLETE, 1),
    ("500 always", [Answer(500)], NOT_FETCHED, 0),
    ("502 always", [Answer(502, b"<html>bad gateway</html>")], NOT_FETCHED, 0),
    ("503 always", [Answer(503)], NOT_FETCHED, 0),
    ("400", [Answer(400, json.dumps(outcome()).encode())], NOT_FETCHED, 0),
    ("401", [Answer(401)], NOT_ALLOWED, 0),
    ("403", [Answer(403)], NOT_ALLOWED, 0),
    ("404 on a search", [Answer(404)], NOT_FETCHED, 0),
    ("410 on a search", [Answer(410)], NOT_FETCHED, 0),
    ("204", [Answer(204)], NOT_FETCHED, 0),
    ("206", [Answer(206, ONE.body)], NOT_FETCHED, 0),
    ("an empty 200", [Answer(200)], NOT_FETCHED, 0),
    ("HTML with 200", [Answer(body=b"<!DOCTYPE html><html>Sign in</html>", headers={"Content-Type": "text/html"})], NOT_FETCHED, 0),
    ("an OperationOutcome with 200", [Answer(body=json.dumps(outcome()).encode())], NOT_FETCHED, 0),
    ("another resource with 200", [Answer(body=b'{"resourceType":"Patient","id":"p1"}')], NOT_FETCHED, 0),
    ("a Bundle of another type", [Answer(body=b'{"resourceType":"Bundle","type":"history","entry":[]}')], NOT_FETCHED, 0),
    ("null", [Answer(body=b"null")], NOT_FETCHED, 0),
    ("truncated JSON", [Answer(body=ONE.body[:-20])], NOT_FETCHED, 0),
    ("invalid UTF-8 between resources", [Answer(body=ONE.body.replace(b"searchset", b"search\xff"))], NOT_FETCHED, 0),
    ("invalid UTF-8 within a resource: the record judges it", [Answer(body=ONE.body.replace(b"final", b"\xff\xfe"))], COMPLETE, 1),
    ("absurdly deep JSON", [Answer(body=b'{"resourceType":"Bundle","type":"searchset","entry":' + b"[" * 100_000)], NOT_FETCHED, 0),
    ("a connection reset within the body, always", [Answer(body=ONE.body, cut_at=40)], NOT_FETCHED, 0),
    ("a connection reset within the body, once", [Answer(body=ONE.body, cut_at=40), ONE], COMPLETE, 1),
    ("a redirect", [Answer(302, headers={"Location": "http://127.0.0.1:1/"})], NOT_FETCHED, 0),
    ("a permanent redirect", [Answer(308, headers={"Location": "/fhir/Observation?code=x"})], NOT_FETCHED, 0),
    ("gzip", [gzipped(ONE)], COMPLETE, 1),
    ("a gzip bomb", [BOMB], NOT_FETCHED, 0),
    ("truncated gzip", [Answer(body=gzip.compress(ONE.body)[:-9], headers={"Content-Encoding": "gzip"})], NOT_FETCHED, 0),
    ("bytes after gzip", [Answer(body=gzip.compress(ONE.body) + b"tail", headers={"Content-Encoding": "gzip"})], NOT_FETCHED, 0),
    ("something else called gzip", [Answer(body=ONE.body, headers={"Content-Encoding": "gzip"})], NOT_FETCHED, 0),
    ("brotli, which was not asked for", [Answer(body=ONE.body, headers={"Content-Encoding": "br"})], NOT_FETCHED, 0),
    ("zstd, which was not asked for", [Answer(body=ONE.body, headers={"Content-Encoding": "zstd"})], NOT_FETCHED, 0),
    ("deflate, which was not asked for", [Answer(body=zlib.compress(ONE.body), headers={"Content-Encoding": "deflate"})], NOT_FETCHED, 0),
    ("gzip twice", [Answer(body=gzip.compress(gzip.compress(ONE.body)), headers={"Content-Encoding": "gzip, gzip"})], NOT_FETCHED, 0),
    ("fewer than it counts, and no way on", [page(observation(1), total=2)], INCOMPLETE, 1),
    ("a total below what came", [page(observation(1), observation(2), total=1)], COMPLETE, 2),
    ("an included resource beside a match", [page(observation(1), observation(2), modes=["match", "include"], total=2)], INCOMPLETE, 2),
    ("an error entry beside results", [page(observation(1), outcome())], INCOMPLETE, 1),
    ("a warning beside results", [page(observation(1), outcome("warning", "not-found"))], INCOMPLETE, 1),
    ("an error entry alone", [page(outcome())], INCOMPLETE, 0),
    ("results withheld from us", [page(outcome("warning", "suppressed"))], NOT_ALLOWED, 0),
    ("an unreadable outcome entry", [page({"resourceType": "OperationOutcome", "issue": "?"})], INCOMPLETE, 0),
    ("an entry without a resource", [Answer(body=EMPTY.replace(b"[]", b'[{"fullUrl":"x"}]'))], INCOMPLETE, 0),
    ("an entry that is no resource", [Answer(body=EMPTY.replace(b"[]", b'[{"resource":7}]'))], INCOMPLETE, 0),
    ("an entry that is null", [Answer(body=EMPTY.replace(b"[]", b"[null]"))], INCOMPLETE, 0),
    ("the same resource twice", [page(observation(1), observation(1))], COMPLETE, 1),
    ("two versions of a resource", [page(observation(1), observation(1, version="2"))], COMPLETE, 2),
    ("a resource whose id is a number", [page(observation(1) | {"id": 17})], COMPLETE, 1),
    ("a resource of another patient: the record drops and lists it", [page(observation(1), observation(2, patient="p2"))], COMPLETE, 2),
]


@pytest.mark.parametrize(("answers", "state", "count"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
async def test_a_fault_decides_the_state_of_its_group_and_of_no_other(answers, state, count):
    """The faulty group has the state of the table; the group beside it is complete; the pull as such succeeds."""
    async with DirtyServer({"Observation": answers}) as server:
        record = await pull(server, limits=FhirLimits(backoff_s_first=0.01, backoff_s_max=0.02, body_bytes_max=4_000_000))
    part = labs(record)
    assert (part.state, len(part.resources)) == (state, count)
    assert bool(part.why) == (state is not COMPLETE)
    assert "Canary" not in part.why
    assert [one.state for one in record.parts if Group.CONDITIONS in one.groups] == [COMPLETE]


def chain(server, *pages):
    """Script pages that lead to each other over opaque links, as HAPI's do."""
    links = [f"{server.base_url}?_getpages=a%3Db%25{number}&x=1%2C2" for number in range(1, len(pages))] + [None]
    server.script["Observation"] = [page(*pages[0], next_url=links[0])]
    server.script["GET"] = [page(*resources, next_url=link) for resources, link in zip(pages[1:], links[1:], strict=True)]
    return links


async def test_next_links_are_followed_exactly_as_they_were_sent():
    """An opaque link with encoded characters arrives at the server unchanged."""
    async with DirtyServer() as server:
        links = chain(server, [observation(1)], [observation(2)], [observation(3)])
        part = labs(await pull(server))
        followed = [one.target for one in server.seen if "_getpages" in one.target]
    assert (part.state, len(part.resources)) == (COMPLETE, 3)
    assert followed == [link[link.index("/fhir") :] for link in links if link]


async def test_resources_that_come_on_two_pages_count_once():
    """Rows that shift between pages are kept once; what is then missing of the total makes the group incomplete."""
    async with DirtyServer() as server:
        chain(server, [observation(1), observation(2)], [observation(2), observation(3)])
        part = labs(await pull(server))
        assert (part.state, len(part.resources)) == (COMPLETE, 3)
        chain(server, [observation(1), observation(2)], [observation(2), observation(3)])
        server.script["Observation"][0] = page(observation(1), observation(2), next_url=f"{server.base_url}?_getpages=1", total=4)
        assert labs(await pull(server)).state is INCOMPLETE


@pytest.mark.parametrize("loop", ["same link", "same page"])
async def test_a_page_that_repeats_ends_the_search_as_incomplete(loop):
    """A server that leads in a circle is left after the first repetition."""
    async with DirtyServer() as server:
        here = f"{server.base_url}/Observation?page=2"
        second = page(observation(1 if loop == "same page" else 2), next_url=here + ("&again" if loop == "same page" else ""))
        server.script["Observation"] = [page(observation(1), next_url=here), second]
        part = labs(await pull(server))
        assert part.state is INCOMPLETE
        assert len(server.searches("Observation")) <= 3


async def test_a_page_that_cannot_be_fetched_leaves_what_came_before_it():
    """A failing second page makes the group incomplete, with the first page's resources."""
    for second in (Answer(500), Answer(403), Answer(410), Answer(body=b"{"), Answer(body=json.dumps(outcome()).encode())):
        async with DirtyServer() as server:
            server.script["Observation"] = [page(observation(1), next_url=f"{server.base_url}/Observation?page=2"), second]
            part = labs(await pull(server))
        assert (part.state, len(part.resources)) == (INCOMPLETE, 1)


async def test_a_link_to_elsewhere_is_never_followed():
    """No connection is made to another host, another port, or a path outside the base, whatever form the link takes."""
    async with DirtyServer() as foreign, DirtyServer() as server:
        hosts = [
            f"http://127.0.0.1:{foreign.port}/fhir/Observation?page=2", f"http://localhost:{server.port}/fhir/Observation?page=2",
            f"//127.0.0.1:{foreign.port}/fhir/Observation", f"http://127.0.0.1:{server.port}@127.0.0.1:{foreign.port}/fhir/Observation",
            f"https://127.0.0.1:{server.port}/fhir/Observation", f"http://127.0.0.1:{server.port}/admin", f"{server.base_url}/../admin",
            f"{server.base_url}/%2e%2e/admin", f"{server.base_url}x/Observation", "/admin", "file:///etc/passwd", "javascript:alert(1)",
            f"http://127.0.0.1:{server.port}\\@127.0.0.1:{foreign.port}/fhir", "http://[::1", f"{server.base_url}/Observation?a=1 b",
        ]  # fmt: skip
        for link in hosts:
            server.script["Observation"] = [page(observation(1), next_url=link)]
            before = len(server.seen)
            part = labs(await pull(server))
            assert (link, part.state, len(part.resources)) == (link, INCOMPLETE, 1)
            assert len(server.seen) - before == 3, link
        assert foreign.seen == []


@pytest.mark.parametrize("link", ["?page=2", "Observation?page=2", "/fhir/Observation?page=2"])
async def test_a_relative_link_is_followed_on_the_same_server(link):
    """Some servers send relative links."""
    async with DirtyServer() as server:
        server.script["Observation"] = [page(observation(1), next_url=link), page(observation(2))]
        server.script["GET"] = [page(observation(2))]
        assert len(labs(await pull(server)).resources) == 2


async def test_caps_on_pages_entries_and_bytes_make_a_group_incomplete():
    """A record larger than allowed is cut, and says so."""
    async with DirtyServer() as server:
        chain(server, *[[observation(number)] for number in range(10)])
        assert labs(await pull(server, limits=FhirLimits(pages_max=3))).state is INCOMPLETE
        chain(server, *[[observation(number)] for number in range(10)])
        assert labs(await pull(server, limits=FhirLimits(entries_max=4))).state is INCOMPLETE
        chain(server, *[[observation(number)] for number in range(10)])
        part = labs(await pull(server, limits=FhirLimits(pull_bytes_max=1200)))
        assert (part.state, part.why) == (INCOMPLETE, "the record is larger than allowed")


@pytest.mark.parametrize("slow", [Answer(hang_s=30), Answer(body=ONE.body * 40, drip_s=0.05)], ids=["hang", "drip"])
async def test_a_slow_search_ends_with_the_deadline_and_the_rest_is_kept(slow):
    """One deadline for the whole pull: what came is used, the rest ran out of time, and something of the deadline is left."""
    async with DirtyServer({"Observation": [slow]}) as server:
        deadline = Deadline(CLOCK, 0.5)
        async with client_of(server) as client:
            record = await client.fetch("p1", PLAN, deadline, "request-1")
            assert deadline.remaining_s() > 0.05
        part = labs(record)
    assert (part.state, part.why) == (NOT_FETCHED, "time ran out")
    assert [one.state for one in record.parts if Group.CONDITIONS in one.groups] == [COMPLETE]


async def test_retry_after_is_waited_for_within_the_deadline():
    """A server that asks for one second gets one second; no request comes earlier."""
    async with DirtyServer({"Observation": [Answer(429, headers={"Retry-After": "1"}), ONE]}) as server:
        started = time.monotonic()
        part = labs(await pull(server))
        assert 1.0 <= time.monotonic() - started < 3.0
    assert part.state is COMPLETE


PATIENT_FAULTS = [
    ("404", Answer(404), NotFound, "patient-not-found"),
    ("410", Answer(410), NotFound, "patient-not-found"),
    ("401", Answer(401), NotAllowed, "patient-forbidden"),
    ("403", Answer(403), NotAllowed, "patient-forbidden"),
    ("500", Answer(500), Upstream, "patient-not-fetched"),
    ("an OperationOutcome with 200", Answer(body=json.dumps(outcome()).encode()), Upstream, "patient-not-fetched"),
    ("HTML with 200", Answer(body=b"<html/>"), Upstream, "patient-not-fetched"),
    ("another patient", Answer(body=b'{"resourceType":"Patient","id":"p2"}'), Upstream, "patient-not-fetched"),
    ("another resource", Answer(body=b'{"resourceType":"Group","id":"p1"}'), Upstream, "patient-not-fetched"),
    ("a redirect", Answer(301, headers={"Location": "/fhir/Patient/p2"}), Upstream, "patient-not-fetched"),
    ("a hang", Answer(hang_s=30), UpstreamTimeout, "patient-timeout"),
]


@pytest.mark.parametrize(("answer", "error", "code"), [fault[1:] for fault in PATIENT_FAULTS], ids=[fault[0] for fault in PATIENT_FAULTS])
async def test_a_patient_who_cannot_be_had_ends_the_pull(answer, error, code):
    """Each failure of the Patient has its own error, and no text of the server in it."""
    async with DirtyServer(patient=answer) as server:
        with pytest.raises(error) as raised:
            await pull(server, seconds=0.6)
    assert type(raised.value) is error
    assert raised.value.code == code
    assert "Canary" not in f"{raised.value} {raised.value.detail}"


async def test_a_server_that_is_not_there_is_upstream():
    """A refused connection is 502, not 404."""
    async with DirtyServer() as server:
        pass
    with pytest.raises(Upstream):
        await pull(server, seconds=1)


async def test_the_requests_say_what_they_must_and_no_more():
    """no-cache and never no-store, gzip only, `_count`, our request id, no cookies; at most six requests at a time."""
    searches = tuple(Search(group=group, resource_type="Observation") for group in Group if group is not Group.PATIENT) * 2
    answer = Answer(body=ONE.body, headers={"Set-Cookie": "session=1; Path=/"}, hang_s=0.05)
    async with DirtyServer({"Observation": [answer]}) as server:
        async with client_of(server) as client:
            for _ in range(2):
                await client.fetch("p1", FetchPlan(searches=searches), Deadline(CLOCK, 10), "request-1")
        for seen in server.seen:
            assert seen.headers["cache-control"] == "no-cache"
            assert seen.headers["accept-encoding"] == "gzip"
            assert seen.headers["x-request-id"] == "request-1"
            assert "cookie" not in seen.headers
        assert all("_count=1000" in seen.target and "patient=p1" in seen.target for seen in server.searches("Observation"))
        assert 1 < server.at_once_max <= 6


async def test_the_environment_s_proxies_are_not_used(monkeypatch):
    """A proxy named in the environment never sees a patient's data."""
    async with DirtyServer() as proxy, DirtyServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert labs(await pull(server)).state is COMPLETE
        assert proxy.seen == []


async def test_no_address_and_no_id_reaches_a_log(caplog):
    """Not even at DEBUG does a library's logger show a URL, on success or on failure."""
    caplog.set_level(logging.DEBUG)
    async with DirtyServer({"Observation": [Answer(500)]}) as server:
        await pull(server)
        logging.getLogger("aiohttp.client").warning("GET %s", f"{server.base_url}/Patient/p1")
    written = " ".join(record.getMessage() for record in caplog.records if record.name != "asyncio")
    assert "Patient" not in written
    assert str(server.port) not in written


# --- what is learned about a server -------------------------------------------------------------------------------------------------

MANY = page(*[observation(number) for number in range(80)])


async def pull_often(server, times=3, plan=PLAN, fallback=None, **how):
    """Pull several times with one client; return the records and whether it uses batches in the end."""
    async with client_of(server, **how) as client:
        records = []
        for _ in range(times):
            records.append(await client.fetch("p1", plan, Deadline(CLOCK, 10), "request-1", fallback=fallback))
            await asyncio.sleep(0.1)  # the CapabilityStatement is read in the background
        return records, client.uses_batch


async def test_a_batch_is_used_once_it_returned_more_than_a_default_page():
    """First pull in parallel, then a trial with the same search, then batches; the record is the same each time."""
    async with BatchingServer({"Observation": [MANY]}) as server:
        records, uses_batch = await pull_often(server, times=4, batch=BatchMode.AUTO)
        assert uses_batch
        assert server.batches >= 2
    assert {labs(record).state for record in records} == {COMPLETE}
    assert len({frozenset(labs(record).resources) for record in records}) == 1


async def test_a_small_record_proves_nothing_about_batches():
    """Ten results could be a cut-off page: the batch stays unproven and unused."""
    async with BatchingServer({"Observation": [page(*[observation(number) for number in range(20)])]}) as server:
        _, uses_batch = await pull_often(server, batch=BatchMode.AUTO)
        assert not uses_batch
        assert server.batches == 0


@pytest.mark.parametrize("how", [{"batch_cap": 20}, {"batch_status": 405}, {"batch_status": 500}, {"lose_entry": True}])
@pytest.mark.parametrize("mode", [BatchMode.AUTO, BatchMode.ALWAYS])
async def test_a_batch_that_is_cut_or_fails_is_replaced_by_searches(how, mode):
    """Whatever the batch does, the record is complete, and the batch is not tried again soon."""
    async with BatchingServer({"Observation": [MANY]}, **how) as server:
        records, _ = await pull_often(server, batch=mode)
        assert server.batches >= 1
        assert server.batches <= (3 if mode is BatchMode.ALWAYS and "batch_cap" in how else 1)
    assert [(labs(record).state, len(labs(record).resources)) for record in records] == [(COMPLETE, 80)] * 3


async def test_a_failed_entry_of_a_batch_is_asked_for_alone():
    """403 for one search of a batch is not-allowed for its group; the others come from the batch."""
    async with BatchingServer({"Observation": [Answer(403)]}) as server:
        record = await pull(server, batch=BatchMode.ALWAYS)
        assert [one.target.split("?")[0] for one in server.seen if one.method == "GET"] == ["/fhir/Observation"]
    assert labs(record).state is NOT_ALLOWED


async def test_a_next_link_within_a_batch_is_followed():
    """A page of a batch may have more behind it."""
    async with BatchingServer() as server:
        server.script["Observation"] = [page(observation(1), next_url=f"{server.base_url}/Observation?page=2"), page(observation(2))]
        part = labs(await pull(server, batch=BatchMode.ALWAYS))
    assert (part.state, len(part.resources)) == (COMPLETE, 2)


async def test_a_search_that_is_refused_is_replaced_by_its_wide_form_from_then_on():
    """400 on the search by code: the search by category answers, and the next pull starts with it."""

    class NoCodeSearch(DirtyServer):
        def answer(self, seen):
            return Answer(400, json.dumps(outcome()).encode()) if "code=" in seen.target else super().answer(seen)

    wide = FetchPlan(searches=(Search(group=Group.LABORATORY, resource_type="Observation", parameters=(("category", "laboratory"),)),))
    async with NoCodeSearch({"Observation": [ONE]}) as server:
        records, _ = await pull_often(server, times=2, fallback=wide)
        assert [labs(record).state for record in records] == [COMPLETE, COMPLETE]
        assert ["category" in one.target for one in server.searches("Observation")] == [False, True, True]


class UnknownTotal(DirtyServer):
    """A server that does not know `_total`: strict ones refuse it, careless ones answer with nothing."""

    def __init__(self, refusal, **more):
        super().__init__({"Observation": [ONE]}, **more)
        self.refusal = refusal

    def answer(self, seen):
        return self.refusal if "_total" in seen.target else super().answer(seen)


@pytest.mark.parametrize("refusal", [page(), Answer(400, json.dumps(outcome()).encode())], ids=["nothing found", "refused"])
async def test_a_server_that_does_not_know_total_is_asked_without_it(refusal):
    """An empty answer to an unproven parameter is not believed, and the parameter is dropped."""
    async with UnknownTotal(refusal) as server:
        records, _ = await pull_often(server, times=2, total=TotalMode.AUTO)
        assert [(labs(record).state, len(labs(record).resources)) for record in records] == [(COMPLETE, 1)] * 2
        assert "_total" not in server.seen[-1].target


async def test_a_known_total_is_asked_for_and_compared():
    """Once rows came with it, `_total` stays, and a page cut off by the server is noticed."""
    async with DirtyServer({"Observation": [page(observation(1), total=3)]}) as server:
        assert labs(await pull(server, total=TotalMode.AUTO)).state is INCOMPLETE
        assert len(server.searches("Observation")) == 1


async def test_after_several_failures_the_source_is_left_alone_for_a_while():
    """The circuit opens after `breaker_failures` pulls, refuses at once, and lets one pull try later."""
    limits = FhirLimits(breaker_failures=2, breaker_open_s=0.3, attempts_max=1)
    async with DirtyServer(patient=Answer(500)) as server, client_of(server, limits=limits) as client:
        for expected in (2, 4, 4):
            with pytest.raises(Upstream):
                await client.fetch("p1", PLAN, Deadline(CLOCK, 5), "r")
            assert len([one for one in server.seen if "Patient/p1" in one.target]) * 2 <= expected
        await asyncio.sleep(0.35)
        server.patient = Answer(body=b'{"resourceType":"Patient","id":"p1"}')
        assert labs(await client.fetch("p1", PLAN, Deadline(CLOCK, 5), "r")).state is COMPLETE


async def test_a_patient_who_is_unknown_does_not_open_the_circuit():
    """404 is an answer of a healthy server."""
    async with DirtyServer(patient=Answer(404)) as server, client_of(server, limits=FhirLimits(breaker_failures=1)) as client:
        for _ in range(3):
            with pytest.raises(NotFound):
                await client.fetch("p1", PLAN, Deadline(CLOCK, 5), "r")


async def test_a_caller_who_leaves_ends_the_pull():
    """Cancelling the pull cancels its requests, leaves no task behind, and says nothing about the server."""
    limits = FhirLimits(breaker_failures=1)
    async with DirtyServer({"Observation": [Answer(hang_s=30)]}) as server, client_of(server, limits=limits) as client:
        before = len(asyncio.all_tasks())
        pulling = asyncio.create_task(client.fetch("p1", PLAN, Deadline(CLOCK, 30), "r"))
        await asyncio.sleep(0.2)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        server.script["Observation"] = [ONE]
        assert labs(await client.fetch("p1", PLAN, Deadline(CLOCK, 5), "r")).state is COMPLETE
        assert len(asyncio.all_tasks()) <= before + 8  # the scripted server's own connections


async def test_a_search_that_cannot_be_written_fails_alone():
    """A malformed parameter of a plan is never sent, and takes nothing else along, in a batch either."""
    odd = FetchPlan(searches=(LABS, Search(group=Group.CONDITIONS, resource_type="Condition", parameters=(("a&b", "1"),))))
    for mode in (BatchMode.NEVER, BatchMode.ALWAYS):
        async with BatchingServer({"Observation": [ONE]}) as server:
            record = await pull(server, plan=odd, batch=mode)
            assert server.searches("Condition") == []
        assert {part.groups[0]: part.state for part in record.parts}[Group.CONDITIONS] is NOT_FETCHED
        assert labs(record).state is COMPLETE


async def test_a_plan_without_searches_reads_the_patient_only():
    """When the caller handed over the rest, one read is all there is."""
    async with BatchingServer() as server:
        record = await pull(server, plan=FetchPlan(searches=()), batch=BatchMode.ALWAYS)
        assert [one.target for one in server.seen] == ["/fhir/Patient/p1"]
    assert [part.state for part in record.parts] == [COMPLETE]


async def test_resources_are_handed_on_byte_for_byte():
    """What the record hashes is what the server sent: spaces, order and unknown elements included."""
    odd = b'{ "zzz" : 1.10,  "resourceType":"Observation", "id":"o1"}'
    body = b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":' + odd + b"}]}"
    async with DirtyServer({"Observation": [Answer(body=body)]}) as server:
        assert labs(await pull(server)).resources == (odd,)
