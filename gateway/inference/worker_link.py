"""The link of one server process to one device's worker: open only while its worker is known to give the right numbers.

    closed -> connect, load, self-test -> open -> (worker lost, hung, lying, or failing three times running) -> closed -> ...

That is the breaker of the device: nothing but a self-test closes it again. A worker that hangs past the limit of a run or gives wrong
numbers is ended; its keeper starts another, and meanwhile requests step down the ladder. A graph or a row that takes its worker along again
and again is left out for a while, so that the others are served.
"""

import asyncio
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from gateway.inference.result import Device, EngineResult, InferenceFailed, Numbers, RuntimeRefused, believed
from gateway.inference.strikes import Strikes
from gateway.inference.tested import TestedGraph, disagreement
from gateway.inference.wire import BrokenWire, Frames, Ping, Ran, Reply, Run, decode_reply, encode
from gateway.inference.worker_connection import WorkerConnection, WorkerLost, WrongNumbers, kill_worker
from gateway.telemetry import count_link_closed, get_logger

FAILURES_MAX = 3  # of the runtime, running: then the self-test decides whether the worker stays
RETRY_S, RETRY_S_MAX = 0.05, 5.0
REFUSED_RETRY_S = 30.0  # a device that refused a graph may have been mended
PROBE_S = 10.0  # between self-tests of a worker that seems well
NOT_TRIED = "its worker is being started"
TRIED_AGAIN = "what was refused is tried again"

_log = get_logger("gateway.inference")


class WorkerLink:
    """Runs rows on one device. Belongs to the event loop on which it was started."""

    def __init__(self, path: Path, device: Device, graphs: Sequence[TestedGraph], *, run_s_max: float) -> None:
        """`run_s_max`: seconds after which a worker that says nothing is ended."""
        self.device = device
        self._path = path
        self._graphs = {graph.key: graph for graph in graphs}
        self._run_s_max = run_s_max
        self._open: _OpenLink | None = None
        self._closed: dict[str, str] = dict.fromkeys(self._graphs, NOT_TRIED)
        self._strikes = Strikes()  # by key of a graph, and of a row
        self._tried = asyncio.Event()
        self._stopping = threading.Event()
        self._clearing: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect for the first time and return when every graph is open or known not to be."""
        self._keeping = asyncio.create_task(self._keep())
        await self._tried.wait()

    async def aclose(self) -> None:
        """Let go of the worker; it stays."""
        self._stopping.set()
        tasks = [*self._clearing, *([self._keeping] if self._keeping is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._open is not None:
            self._open.lose("the gateway is stopping")

    def closed_because(self, key: str) -> str:
        """Say why a graph cannot be run here now; empty: it can."""
        return self._closed.get(key, "the model is not loaded")

    async def run(self, key: str, values: list[float], variant_index: int | None, timeout_s: float) -> EngineResult:
        """Run one row.

        Raises:
            InferenceFailed: the link is closed, there was no answer in time, or it cannot be believed.
        """
        link, graph = self._open, self._graphs[key]
        reason = self.closed_because(key)
        if reason or link is None:
            raise InferenceFailed(reason or NOT_TRIED)
        now = time.monotonic()
        if self._strikes.leave_out_any(now) and self._strikes.leaves_out(_row_key(values), now):
            raise InferenceFailed("the worker did not survive this row several times")
        if not graph.signature.may_run(values):
            return graph.signature.not_run(self.device, link.runtimes[key])
        (numbers,) = await link.ask(key, [values], [variant_index], timeout_s)
        if isinstance(numbers, str):
            link.row_failed(numbers)
            raise InferenceFailed(numbers)
        try:
            result = believed(graph.signature, numbers, self.device, link.runtimes[key])
        except InferenceFailed as failure:
            self._doubt(link, graph, failure.reason)
            self._strikes.strike(_row_key(values), time.monotonic())
            raise
        link.failures = 0
        return result

    def _doubt(self, link: "_OpenLink", graph: TestedGraph, reason: str) -> None:
        """Ask nothing of a model until its self-test has told whether the worker lies, or the model erred on one row."""
        if self._closed.get(graph.key) == "":
            self._closed[graph.key] = f"its numbers are in doubt: {reason}"
            task = asyncio.get_running_loop().create_task(self._clear(link, graph))
            self._clearing.add(task)
            task.add_done_callback(self._clearing.discard)

    async def _clear(self, link: "_OpenLink", graph: TestedGraph) -> None:
        difference = await self._test(link, graph)
        if difference:
            link.lose(difference)
        elif self._open is link:
            self._closed[graph.key] = ""

    async def _keep(self) -> None:
        """Open the link, wait until it is lost, and open it again."""
        pause_s = RETRY_S
        while True:
            try:
                connection, runtimes, refused = await asyncio.to_thread(self._prepare)
                link = await self._attach(connection, runtimes)
            except Exception as lost:  # noqa: BLE001 - whatever went wrong, the link is closed and opened again; else it would stay as it is
                reason = lost.reason if isinstance(lost, WorkerLost) else f"the link failed ({type(lost).__name__})"
                self._close_all(reason)
                self._tried.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
                continue
            pause_s = RETRY_S
            self._open, self._closed = link, {**refused, **dict.fromkeys(runtimes, "")}
            self._tried.set()
            _log.info("a device answers", rung=self.device.value, count=len(runtimes), pid=connection.pid)
            left_out = any(self._strikes.leaves_out(key, time.monotonic()) for key in self._graphs)
            await self._stay(link, again_s=REFUSED_RETRY_S if left_out or not runtimes else None)

    async def _stay(self, link: "_OpenLink", again_s: float | None) -> None:
        """Test the worker from time to time, until the link is lost, or it is time to try again what was refused."""
        until = None if again_s is None else time.monotonic() + again_s
        while not link.lost.done():
            await asyncio.wait((link.lost,), timeout=PROBE_S)
            if not link.lost.done() and until is not None and time.monotonic() > until:
                link.lose(TRIED_AGAIN)
            elif not link.lost.done():
                await self._probe(link)
        self._open = None
        reason = link.lost.result()
        if reason == TRIED_AGAIN:
            return
        for values in link.died_over:
            self._strikes.strike(_row_key(values), time.monotonic())
        self._close_all(reason)

    async def _probe(self, link: "_OpenLink") -> None:
        for key in link.runtimes:
            difference = await self._test(link, self._graphs[key])
            if difference:
                link.lose(difference)
                return

    async def _test(self, link: "_OpenLink", graph: TestedGraph) -> str:
        """Run the golden rows over an open link; say what is wrong with what came back, "" for nothing."""
        for piece in graph.pieces():
            asked = [row.values for row in piece], [row.variant for row in piece]
            try:
                difference = disagreement(graph, piece, await link.ask(graph.key, *asked, timeout_s=PROBE_S))
            except InferenceFailed as failure:
                return f"the self-test failed: {failure.reason}"
            if difference:
                return difference
        return ""

    def _close_all(self, reason: str) -> None:
        self._closed = dict.fromkeys(self._graphs, reason)
        count_link_closed(self.device.value)
        _log.warning("a device does not answer", rung=self.device.value, reason=reason)

    def _prepare(self) -> tuple[WorkerConnection, dict[str, str], dict[str, str]]:
        """Connect, load and test every graph; return the runtime by key of those that passed, and why by key of those that did not.

        Raises:
            WorkerLost: there is no worker, or it did not survive or pass a test and was ended.
        """
        connection = WorkerConnection.open(self._path, give_up=self._stopping.is_set)
        runtimes: dict[str, str] = {}
        refused: dict[str, str] = {}
        for graph in self._graphs.values():
            if self._strikes.leaves_out(graph.key, time.monotonic()):
                refused[graph.key] = "it took its worker along several times"
                continue
            try:
                runtimes[graph.key] = connection.load(graph.key, graph.signature, graph.graph, graph.rows_max)
                connection.self_test(graph)
                self._strikes.clear(graph.key)
            except RuntimeRefused as refusal:
                refused[graph.key] = f"the device refused the graph: {refusal.reason}"
            except WorkerLost as lost:
                if self._stopping.is_set():
                    connection.close()
                    raise
                self._strikes.strike(graph.key, time.monotonic())
                connection.kill()
                if isinstance(lost, WrongNumbers):
                    _log.error("a device gives wrong numbers", rung=self.device.value, model=graph.name)
                raise
        if self._stopping.is_set():
            connection.close()  # nobody waits for it any more
            raise WorkerLost("the gateway is stopping")
        return connection, runtimes, refused

    async def _attach(self, connection: WorkerConnection, runtimes: Mapping[str, str]) -> "_OpenLink":
        connection.socket.settimeout(0)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(
            lambda: _OpenLink(loop, connection.pid, runtimes, run_s_max=self._run_s_max), sock=connection.socket
        )
        return link


class _OpenLink(asyncio.Protocol):
    """A connection while it is open: what was asked and not answered yet, and how long nothing was heard."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pid: int, runtimes: Mapping[str, str], *, run_s_max: float) -> None:
        self.runtimes = runtimes
        self.failures = 0
        self.died_over: list[list[float]] = []  # rows that were in work when the worker ended or hung
        self.lost: asyncio.Future[str] = loop.create_future()
        self._loop = loop
        self._pid = pid
        self._run_s_max = run_s_max
        self._frames = Frames()
        self._asked: dict[int, tuple[list[list[float]], asyncio.Future[list[Numbers | str]]]] = {}
        self._ids = 0
        self._heard = self._due = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    async def ask(self, key: str, rows: list[list[float]], variants: list[int | None], timeout_s: float) -> list[Numbers | str]:
        """Send rows and wait for what they give.

        Raises:
            InferenceFailed: no answer in time, or the link was lost.
        """
        if self._transport is None or self.lost.done():
            raise InferenceFailed(NOT_TRIED)
        self._ids += 1
        answer: asyncio.Future[list[Numbers | str]] = self._loop.create_future()
        if self._watch is None:
            self._heard = self._loop.time()
            self._look_again()
        self._asked[self._ids] = (rows, answer)
        self._transport.write(encode(Run(self._ids, key, rows, variants, time.monotonic() + timeout_s)))
        try:
            async with asyncio.timeout(timeout_s):
                found = await answer
        except TimeoutError:
            raise InferenceFailed("the worker did not answer in time") from None
        if len(found) != len(rows):
            self.lose("the worker gave another number of rows")
            raise InferenceFailed("the worker gave another number of rows")
        return found

    def row_failed(self, reason: str) -> None:
        """Count a failure of the runtime; several running and the self-test decides."""
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            self.lose(reason)

    def lose(self, reason: str, *, kill: bool = False, ended: bool = False) -> None:
        """Give the link up, and with `kill` the worker, unless it has `ended` by itself; whoever waits steps down."""
        if self.lost.done():
            return
        if kill or ended:
            self.died_over = [row for rows, _ in self._asked.values() for row in rows]
        self.lost.set_result(reason)
        if kill:
            kill_worker(self._pid)
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        for _, answer in self._asked.values():
            if not answer.done():
                answer.set_exception(InferenceFailed(reason))
        self._asked.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.Transport", transport)  # a stream's; uvloop's own is no subclass

    def data_received(self, data: bytes) -> None:
        """Hand every answer to whoever waits for it; an answer that nobody waits for any more is dropped."""
        self._heard = self._loop.time()
        try:
            for content in self._frames.feed(data):
                self._take(decode_reply(content))
        except (BrokenWire, msgspec.DecodeError):
            self.lose("the worker said what cannot be understood", kill=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """The worker ended."""
        self.lose("the worker ended", ended=True)

    def _take(self, reply: Reply) -> None:
        if not isinstance(reply, Ran):
            return
        _, answer = self._asked.pop(reply.id, ([], None))
        if answer is not None and not answer.done():
            answer.set_result(reply.rows)

    def _look(self) -> None:
        """While something is asked: has anything been heard? A worker answers a ping between two runs, so silence is a run too long."""
        self._watch = None
        if not self._asked or self._transport is None:
            return
        if self._loop.time() - self._due > self._run_s_max / 4:
            self._heard = self._loop.time()  # this process stood still: answers may lie unread
        if self._loop.time() - self._heard > self._run_s_max:
            self.lose("the worker hung", kill=True)
            return
        self._transport.write(encode(Ping()))
        self._look_again()

    def _look_again(self) -> None:
        self._due = self._loop.time() + self._run_s_max / 2
        self._watch = self._loop.call_at(self._due, self._look)


def _row_key(values: Sequence[float]) -> str:
    return array("d", values).tobytes().hex()
