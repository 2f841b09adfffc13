"""What requests leave in the audit log, route by route, and what an answer's receipt names."""

import asyncio
import json
import socket
import time
import uuid
from pathlib import Path

import msgspec
import pytest
from served_gateway import Fault, parameters_of, serving, settings_in
from starlette.routing import Route

from gateway.api.assess_risk import answer_of, render
from gateway.api.audited import Audited
from gateway.api.exchange import Answer
from gateway.api.health import Open
from gateway.api.refusals import RefusalLog
from gateway.app import create_app, open_gateway
from gateway.assessment.assess import assess
from gateway.assessment.request import AssessmentRequest
from gateway.audit import KeyFileKms, LogReader
from gateway.clock import Deadline, SystemClock
from gateway.errors import ErrorCode, GatewayError
from gateway.identity import Caller, Permission, RequestId, TenantId
from gateway.sandbox.fixture import fixtures_dir, load_fixtures

# The short list of routes without patient data. A new route is audited, or somebody writes it down here and says why.
WITHOUT_PATIENT_DATA = {
    "/fhir/metadata",  # what the server is
    "/fhir/OperationDefinition/assess-risk",  # what the operation takes
    "/cds-services",  # what the services are
    "/health/live",
    "/health/ready",
    "/metrics",
    "/v2",  # what the server is
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model}",  # what a model takes and gives
    "/v2/models/{model}/ready",
    "/v2/models/{model}/versions/{version}",
    "/v2/models/{model}/versions/{version}/ready",
    "/openapi.json",  # development only
    "/docs",  # development only
}


def test_every_route_is_audited_or_on_the_short_list(fhir_server, tmp_path):
    """Walk all routes of the running application, the development pages included: each is wrapped, or listed above."""
    _, base_url = fhir_server
    with serving(settings_in(tmp_path, base_url, openapi=True)) as served:
        routes = list(served.app.router.routes)
    assert all(isinstance(route, Route) for route in routes), "a mount or a websocket would hide routes from this test"
    bare = {route.path for route in routes if not isinstance(route.app, Audited)}
    assert bare == WITHOUT_PATIENT_DATA
    assert {route.path for route in routes if isinstance(route.app, Audited)} == {
        "/fhir/Patient/{patient_id}/$assess-risk",
        "/fhir/$assess-risk",
        "/cds-services/{service_id}",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}/infer",
    }


def test_routes_of_production_are_all_of_our_own_kind(gateway):
    """Without the development pages, every route is Audited or Open."""
    assert {type(route.app) for route in gateway.app.router.routes} == {Audited, Open}


def test_the_short_way_in_leads_to_the_same_wrappers(gateway):
    """What is answered past the framework is one of the audited routes, not another one."""
    audited = {id(route.app) for route in gateway.app.router.routes if isinstance(route.app, Audited)}
    assert gateway.app.direct
    assert {id(endpoint) for endpoint, _ in gateway.app.direct.values()} <= audited


@pytest.mark.parametrize("route", sorted(WITHOUT_PATIENT_DATA - {"/openapi.json", "/docs"}))
def test_a_route_of_the_short_list_answers_without_a_record(gateway, route):
    """Discovery, metadata, health and metrics leave nothing in the log."""
    before = len(gateway.log())
    assert gateway.http.get(route.format(model="prevent", version="1.0.0")).status_code == 200
    assert len(gateway.log()) == before


def test_a_pulled_answer_leaves_access_then_result(gateway, fhir):
    """ACCESS is durable before the FHIR server is asked, RESULT before the answer; the receipt names the RESULT."""
    answer = gateway.assess("demo-complete", **{"x-request-id": "pulled-1"})
    access, result = gateway.log_of("pulled-1")
    assert (access["type"], result["type"]) == ("ACCESS", "RESULT")
    assert fhir.seen[0] == "Patient"
    assert result["http_status"] == 200
    assert set(result["dq_verdict"].split(",")) == {"scored"}
    assert names_result(gateway, answer.headers["audit-receipt"], "pulled-1")


def names_result(gateway, receipt: str, request_id: str) -> bool:
    _, index, leaf = receipt.split("/")
    with LogReader(Path(gateway.settings.audit.database)) as reader:
        (record,) = reader.records(int(index), int(index) + 1)
    return (record.fields["type"], record.fields["request_id"], record.leaf_hash.hex()) == ("RESULT", request_id, leaf)


def test_an_inline_record_leaves_both_records_side_by_side(gateway, fhir):
    """Where nothing is pulled, ACCESS and RESULT share a commit: neighbours in the log, and the FHIR server hears nothing."""
    record = bundle_of("demo-complete")
    body = parameters_of({"name": "record", "resource": record}, {"name": "recordComplete", "valueBoolean": True})
    answer = gateway.http.post("/fhir/$assess-risk", json=body, headers={"x-request-id": "inline-1"})
    assert answer.status_code == 200
    assert gateway.types_of("inline-1") == ["ACCESS", "RESULT"]
    assert fhir.seen == []
    assert names_result(gateway, answer.headers["audit-receipt"], "inline-1")


def bundle_of(patient: str) -> dict:
    """Return a synthetic patient's resources as one Bundle, dates rendered against now."""
    resources = load_fixtures(fixtures_dir(), SystemClock().now())
    theirs = [
        one
        for one in resources
        if one["id"] == patient or any(one.get(name, {}).get("reference") == f"Patient/{patient}" for name in ("subject", "patient"))
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in theirs]}


def test_the_payload_of_a_result_opens_and_holds_the_answer(gateway):
    """The encrypted payload holds what was asked, every input looked at, and the very bytes of the answer."""
    answer = gateway.assess("demo-complete", **{"x-request-id": "payload-1"})
    index = int(answer.headers["audit-receipt"].split("/")[1])
    with LogReader(Path(gateway.settings.audit.database), KeyFileKms(Path(gateway.settings.audit.key_file))) as reader:
        (record,) = reader.records(index, index + 1)
        payload = msgspec.json.decode(reader.open_payload(record))
    assert payload["body"] == answer.json()
    assert payload["asked"]["patient"] == "demo-complete"
    assert {"prevent", "ckdepi2021"} <= {found["release"]["name"] for found in payload["answers"]}


# --- strangers --------------------------------------------------------------------------------------------------------------------


async def ask_from(app, host: str) -> int:
    """Send one request through the ASGI interface as if it came from `host`; return the status."""
    sent = []
    body = json.dumps(parameters_of()).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "query_string": b"",
        "path": "/fhir/Patient/demo-complete/$assess-risk",
        "raw_path": b"",
        "root_path": "",
        "server": ("127.0.0.1", 80),
        "client": (host, 4711),
        "headers": [(b"content-type", b"application/json")],
    }
    messages = [{"type": "http.request", "body": body}]

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()  # a client that waits for its answer says nothing more

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"]


def test_strangers_are_refused_and_counted_in_one_record(fhir_server, fhir, tmp_path):
    """From elsewhere than this machine: 401 without a reason, nothing read, and one AUTHN_FAIL with the count, not fifty records."""
    _, base_url = fhir_server
    settings = settings_in(tmp_path, base_url)
    app = create_app(settings)

    async def flood() -> list[int]:
        async with app.router.lifespan_context(app):
            return [await ask_from(app, host) for host in ["192.0.2.7", "203.0.113.9"] * 25]

    assert set(asyncio.run(flood())) == {401}
    assert fhir.seen == []
    with LogReader(Path(settings.audit.database)) as reader:
        records = [record.fields for record in reader.records()]
    assert [(fields["type"], fields["count"], fields["http_status"]) for fields in records] == [("AUTHN_FAIL", 50, 401)]


def test_counts_that_could_not_be_written_are_kept():
    """A flush that fails loses no count: the next one writes them all."""

    class Recovering:
        def __init__(self):
            self.down = True
            self.counts = []

        async def append(self, drafts, timeout_s):  # noqa: ARG002 - the port's signature
            if self.down:
                self.down = False
                raise GatewayError(ErrorCode.AUDIT_UNAVAILABLE, "The log is down.")
            self.counts += [draft.count for draft in drafts]

    async def run() -> list[int]:
        trail = Recovering()
        log = RefusalLog(trail, "t", wait_s_max=0.1)
        for _ in range(3):
            await log.refused("assess-risk", None, "r", GatewayError(ErrorCode.NOT_AUTHENTICATED, "No."))
        await log.flush()
        await log.flush()
        return trail.counts

    assert asyncio.run(run()) == [3]


# --- faults of our own ------------------------------------------------------------------------------------------------------------


class Broken:
    """A runtime with a bug: raises what nobody foresaw."""

    def run(self, model, tensors, variant_index):  # noqa: ARG002 - the port's signature
        raise ZeroDivisionError("Canary-4711")


@pytest.mark.parametrize("bug_in", ["the runtime", "the rendering"])
def test_an_unforeseen_fault_after_access_leaves_an_end(fhir_server, tmp_path, bug_in):
    """A bug after ACCESS: the error says `internal` without its text, and the ACCESS has its REFUSED."""
    _, base_url = fhir_server
    settings = settings_in(tmp_path, base_url)
    caller = Caller(client_id="c", tenant=TenantId("t"), permissions=frozenset(Permission))

    def render_badly(answer):
        raise ZeroDivisionError(answer.patient_id)

    async def run() -> GatewayError:
        async with open_gateway(settings) as running:
            gateway = running.gateway
            if bug_in == "the runtime":
                gateway = msgspec.structs.replace(gateway, runtime=Broken())
            request = AssessmentRequest(
                caller=caller,
                request_id=RequestId("broken"),
                operation="assess-risk",
                patient_id="demo-complete",
                deadline=Deadline(gateway.clock, 10),
            )
            with pytest.raises(GatewayError) as raised:
                await assess(request, gateway, render_badly)
            return raised.value

    error = asyncio.run(run())
    assert (error.code.value, error.recorded) == ("internal", True)
    assert "demo-complete" not in f"{error.public}{error.detail}"
    with LogReader(Path(settings.audit.database)) as reader:
        assert [record.fields["type"] for record in reader.records()] == ["ACCESS", "REFUSED"]


# --- clients that leave -----------------------------------------------------------------------------------------------------------


def hang_up_early(url: str, request_id: str) -> None:
    """Send a whole request, then close the connection without waiting for the answer."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps(parameters_of()).encode()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /fhir/Patient/demo-complete/$assess-risk HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"X-Request-ID: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )


def test_an_answer_that_nobody_waits_for_is_noted_as_not_delivered(gateway, fhir):
    """The client hangs up while the FHIR server dawdles: ACCESS, RESULT, NOT_DELIVERED, which names the RESULT."""
    fhir.faults["Condition"] = Fault(delay_s=0.5)
    request_id = f"left-{uuid.uuid4()}"
    hang_up_early(gateway.url, request_id)
    wait_for(lambda: len(gateway.types_of(request_id)) == 3)
    access, result, undelivered = gateway.log_of(request_id)
    assert [access["type"], result["type"], undelivered["type"]] == ["ACCESS", "RESULT", "NOT_DELIVERED"]
    assert undelivered["caused_by"] == result["rid"]


@pytest.mark.parametrize("left", [False, True])
def test_what_is_noted_as_not_delivered_is_not_sent(fhir_server, tmp_path, left):
    """The edge follows the record: an answer with NOT_DELIVERED behind it does not leave."""
    _, base_url = fhir_server
    caller = Caller(client_id="c", tenant=TenantId("t"), permissions=frozenset(Permission))

    async def run() -> Answer:
        async with open_gateway(settings_in(tmp_path, base_url)) as running:
            request = AssessmentRequest(
                caller=caller,
                request_id=RequestId("left"),
                operation="assess-risk",
                patient_id="demo-complete",
                deadline=Deadline(running.gateway.clock, 10),
                client_left=lambda: left,
            )
            return answer_of(await assess(request, running.gateway, render))

    assert asyncio.run(run()).wanted is not left


def test_a_client_that_waits_gets_its_answer_and_no_note(gateway, fhir):
    """The same dawdling server, a patient client: no NOT_DELIVERED, and the connection is good for the next request."""
    fhir.faults["Condition"] = Fault(delay_s=0.3)
    for number in range(2):
        request_id = f"waits-{uuid.uuid4()}-{number}"
        assert gateway.assess("demo-complete", **{"x-request-id": request_id}).status_code == 200
        assert gateway.types_of(request_id) == ["ACCESS", "RESULT"]


def wait_for(condition, seconds: float = 10.0) -> None:
    ends_at = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert condition()
