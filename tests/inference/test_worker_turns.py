"""A worker's turns, one after the other: what waits runs together, within the limits, and nothing that came too late runs at all."""

import socket
import time

import pytest
from tiny_graphs import HONEST

from gateway.inference.engine import LoadedGraph
from gateway.inference.result import signature_of
from gateway.inference.wire import Frames, Hello, Load, Loaded, Ping, Pong, Ran, Run, decode_reply, encode
from gateway.inference.worker import NOT_LOADED, TOO_LATE, Worker

ROW = [40.0, 1.0, 1.5]
SOON = 60.0


class Counted(LoadedGraph):
    """A graph that notes how many rows each run had."""

    runs: list[int]

    def run_rows(self, rows, variants):
        """Note, and run."""
        self.runs.append(len(rows))
        return super().run_rows(rows, variants)


class Client:
    """Speaks to the worker from the other end of a socket."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._socket.settimeout(5)
        self._frames = Frames()

    def send(self, *messages):
        """Send messages at once, so that they arrive together."""
        self._socket.sendall(b"".join(map(encode, messages)))

    def receive(self, worker, count):
        """Let the worker take turns until so many replies are here."""
        replies = []
        while len(replies) < count:
            worker.turn()
            self._socket.settimeout(0)
            try:
                replies += [decode_reply(content) for content in self._frames.feed(self._socket.recv(65536))]
            except BlockingIOError:
                continue
        return replies

    def close(self):
        """Leave."""
        self._socket.close()


@pytest.fixture
def turns(tmp_path, sum_manifest):
    """Give a worker that takes turns when told to, a client whose graph is loaded, and the sizes of its runs."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    runs: list[int] = []
    signature = signature_of(sum_manifest)

    def load(message):
        graph = Counted(message.signature, message.graph)
        graph.runs = runs
        return graph

    worker = Worker(listener, load, rows_max=8)
    client = Client(tmp_path / "s")
    client.send(Load("k", signature, HONEST, 6))
    hello, loaded = client.receive(worker, 2)
    assert (type(hello), type(loaded), loaded.problem) == (Hello, Loaded, "")
    yield worker, client, runs
    client.close()
    for one in (listener, worker._wake, worker._woken):
        one.close()
    worker._selector.close()
    for one in worker._clients:
        one.connection.close()


def run(number, rows=1, expires_s=SOON, key="k"):
    """Return a request."""
    return Run(number, key, [ROW] * rows, [None] * rows, time.monotonic() + expires_s)


def test_what_waits_runs_together_within_the_graphs_limit(turns):
    """Ten rows at once: six, then four; each answer goes to its question."""
    worker, client, runs = turns
    client.send(*[run(number) for number in range(10)])
    replies = client.receive(worker, 10)
    assert runs == [6, 4]
    assert [reply.id for reply in replies] == list(range(10))
    assert all(reply.rows == [([42.5], [True])] for reply in replies)


def test_a_question_is_never_torn_apart(turns):
    """One of seven rows goes alone although the limit is six."""
    worker, client, runs = turns
    client.send(run(1), run(2, rows=7), run(3))
    client.receive(worker, 3)
    assert runs == [1, 7, 1]


def test_what_came_too_late_or_is_not_loaded_is_not_run(turns):
    """And it is said, so that nobody waits."""
    worker, client, runs = turns
    client.send(run(1, expires_s=-1.0), run(2, key="other"), run(3))
    replies = {reply.id: reply.rows for reply in client.receive(worker, 3)}
    assert replies == {1: [TOO_LATE], 2: [NOT_LOADED], 3: [([42.5], [True])]}
    assert runs == [1]


def test_a_ping_is_answered_between_two_runs(turns):
    """Also while more rows wait than go together."""
    worker, client, _ = turns
    client.send(*[run(number) for number in range(20)], Ping())
    kinds = [type(reply) for reply in client.receive(worker, 21)]
    assert kinds.count(Ran) == 20
    assert kinds.index(Pong) < 20


def test_a_graph_that_nobody_uses_any_more_is_let_go(turns):
    """Its client has left; another one must load it again."""
    worker, client, _ = turns
    client.close()
    while worker._clients:
        worker.turn()
    assert (worker._graphs, worker._limits) == ({}, {})
