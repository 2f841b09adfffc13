"""What another server may say, and what of it is believed: one fault at a time, over real HTTP; tests/acceptance has a real server."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from brought_release import MANIFEST, REMOTE

from gateway.features.manifest import decode_manifest
from gateway.inference.remote import RemoteClient, RemoteLink, RemoteModel
from gateway.inference.result import Device, InferenceFailed, signature_of

ROW = [60.0, 1.2, 90.0]


def good(asked):
    """Return what an honest server says."""
    output = {"name": "predict_proba", "shape": [1, 2], "datatype": "FP64", "data": [0.75, 0.25]}
    return {"model_name": "logistic", "model_version": "v7", "id": asked["id"], "outputs": [output]}


def with_output(**changed):
    """Return how an honest answer is changed in its one output."""
    return lambda answer: answer | {"outputs": [answer["outputs"][0] | changed]}


FAULTS = {
    "another model": lambda answer: answer | {"model_name": "other"},
    "another version": lambda answer: answer | {"model_version": "v8"},
    "no version": lambda answer: {name: value for name, value in answer.items() if name != "model_version"},
    "another request": lambda answer: answer | {"id": "77"},
    "no output": lambda answer: answer | {"outputs": []},
    "another output": with_output(name="predict"),
    "null": with_output(data=[0.75, None]),
    "text": with_output(data=["0.75", "0.25"]),
    "above one": with_output(data=[-0.5, 1.5]),
    "one row too many": with_output(shape=[2, 2], data=[0.75, 0.25, 0.75, 0.25]),
    "one column": with_output(shape=[1, 1], data=[0.25]),
    "fewer numbers than its shape": with_output(data=[0.75]),
    "integers": with_output(datatype="INT64", data=[1, 0]),
    "an error": lambda _answer: {"error": "no"},
    "no JSON": lambda _answer: b"<html>",
    "NaN": lambda answer: json.dumps(answer).replace("0.25", "NaN").encode(),
    "Infinity": lambda answer: json.dumps(answer).replace("0.25", "Infinity").encode(),
    "two megabytes": lambda answer: json.dumps(answer | {"more": "x" * 2_000_000}).encode(),
    "status 500": 500,
    "status 302": 302,
}


class Server:
    """An honest server that can be given a fault."""

    def __init__(self):
        self.fault = None
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.asked += 1
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                told = good(asked)
                status = outer.fault if isinstance(outer.fault, int) else 200
                told = outer.fault(told) if callable(outer.fault) else told
                body = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments):
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        """Stop."""
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server():
    """Give the server."""
    opened = Server()
    yield opened
    opened.close()


@pytest.fixture
def signature():
    """Return what the release promises."""
    text = MANIFEST
    for old, new in REMOTE.items():
        text = text.replace(old, new)
    return signature_of(decode_manifest(text.encode()))


def target(server):
    """Return where the model is."""
    return RemoteModel(base_url=server.base, model="logistic", version="v7")


@pytest.mark.asyncio
async def test_an_honest_answer_is_believed(server, signature):
    """Flat or nested; the column that nobody reads does not apply."""
    async with RemoteClient(target(server), signature) as client:
        for fault in (None, with_output(data=[[0.75, 0.25]]), with_output(datatype="FP32")):
            server.fault = fault
            result = await client.run(ROW, 2.0)
            assert (result.values[1], result.applicable, result.device) == (0.25, (False, True), Device.REMOTE)
            assert result.runtime == "remote logistic v7"


@pytest.mark.asyncio
@pytest.mark.parametrize("what", list(FAULTS))
async def test_anything_else_is_no_number(server, signature, what):
    """One thing differs, and there is no result."""
    server.fault = FAULTS[what]
    async with RemoteClient(target(server), signature) as client:
        with pytest.raises(InferenceFailed):
            await client.run(ROW, 2.0)


@pytest.mark.asyncio
async def test_the_link_is_closed_after_three_failures_and_opens_by_the_self_test(server, signature):
    """While it is closed the server gets nothing but the rows of the self-test."""
    tests = []

    def self_test(run):
        tests.append(run(dict(zip(signature.inputs, ROW, strict=True)), None).values[1])

    link = RemoteLink(target(server), signature, self_test)
    await link.start()
    assert (link.closed, tests) == ("", [0.25])
    server.fault = 500
    for _ in range(3):
        with pytest.raises(InferenceFailed, match="status 500"):
            await link.run(ROW, 2.0)
    assert link.closed
    asked = server.asked
    with pytest.raises(InferenceFailed, match="status 500"):
        await link.run(ROW, 2.0)
    assert server.asked <= asked + 1  # of the self-test, perhaps
    server.fault = None
    for _ in range(100):
        if not link.closed:
            break
        await asyncio.sleep(0.05)
    assert (await link.run(ROW, 2.0)).values[1] == 0.25
    await link.aclose()


@pytest.mark.asyncio
async def test_a_version_that_did_not_pass_the_vectors_is_not_believed(server, signature):
    """Where none is configured, the one that passed holds; another one must pass first."""
    link = RemoteLink(
        RemoteModel(base_url=server.base, model="logistic"), signature, lambda run: run(dict(zip(signature.inputs, ROW, strict=True)), None)
    )
    await link.start()
    assert (await link.run(ROW, 2.0)).runtime == "remote logistic v7"
    server.fault = lambda answer: answer | {"model_version": "v8"}
    with pytest.raises(InferenceFailed, match="another model, version"):
        await link.run(ROW, 2.0)
    await link.aclose()


@pytest.mark.asyncio
async def test_a_row_with_an_absent_input_is_not_sent(server, signature):
    """Nothing leaves for which there can be no number."""
    link = RemoteLink(target(server), signature, lambda _run: None)
    await link.start()
    result = await link.run([60.0, float("nan"), 90.0], 2.0)
    assert (result.applicable, server.asked) == ((False, False), 0)
    await link.aclose()


def test_the_wire_of_workers_keeps_every_bit():
    """NaN, infinities and the last bits of a number survive; so does a message cut anywhere."""
    from gateway.inference.wire import Frames, Ran, decode_reply, encode  # noqa: PLC0415 - beside the other server's wire

    rows = [([0.1 + 0.2, float("nan")], [True, False]), "a reason"]
    message = encode(Ran(7, rows))
    for cut in range(len(message)):
        frames = Frames()
        found = [*frames.feed(message[:cut]), *frames.feed(message[cut:] + message[:3])]
        (reply,) = map(decode_reply, found)
        assert msgspec.msgpack.encode(reply) == msgspec.msgpack.encode(Ran(7, rows))
