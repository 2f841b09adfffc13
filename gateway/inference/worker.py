"""A worker: `python -m gateway.inference.worker LISTENER DEVICE PARENT MEMORY ROWS`, started by its keeper only.

It waits until its standard input says that it is its turn, and says on standard output when it serves.

It runs graphs for every server process of this machine, one batch at a time on one thread: whatever waits for one model when the last run
ends goes together, and nothing waits for a batch to fill (serving 2.2). Whoever asks keeps the deadline, judges the numbers, and ends this
process when it hangs or lies; nothing here is worth saving.
"""

import gc
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from gateway.inference.engine import LoadedGraph
from gateway.inference.result import Device, InferenceFailed, Numbers, RuntimeRefused
from gateway.inference.wire import BACKLOG, BrokenWire, Frames, Hello, Load, Loaded, Ping, Pong, Ran, Reply, Run, decode_request, encode
from gateway.process import die_with_parent

_READ_BYTES = 256 * 1024
NOT_LOADED = "the model is not loaded"
TOO_LATE = "there was no time left"

LoadGraph = Callable[[Load], LoadedGraph]


class _Client:
    """One connection: what it is still owed, and which graphs it uses."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.frames = Frames()
        self.owed = bytearray()
        self.uses: set[str] = set()


class Worker:
    """Serves every client of a listening socket until the process is ended."""

    def __init__(self, listener: socket.socket, load: LoadGraph, *, rows_max: int) -> None:
        """`load` makes a graph runnable; `rows_max`: rows in one run."""
        self._load = load
        self._rows_max = rows_max
        self._graphs: dict[str, LoadedGraph] = {}
        self._limits: dict[str, int] = {}  # rows in one run of a graph, so that it ends long before anybody takes it for hung
        self._waiting: dict[str, deque[tuple[_Client, Run]]] = {}  # by model; a model that was served goes to the end
        self._loading: dict[str, list[_Client]] = {}
        self._finished: deque[tuple[str, LoadedGraph | str]] = deque()
        self._clients: set[_Client] = set()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for one in (self._woken, listener):
            one.settimeout(0)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._graph_is_ready)
        self._listener = listener

    def serve(self) -> None:
        """Answer for ever."""
        while True:
            self.turn()

    def turn(self) -> None:
        """Take what has arrived; then run one batch, if anything waits."""
        for key, events in self._selector.select(0 if self._waiting else None):
            key.data(events)
        if self._waiting:
            self._run_a_batch()

    def _accept(self, _events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # the client has left, or another process was quicker
        connection.settimeout(0)
        client = _Client(connection)
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, lambda events: self._serve(client, events))
        self._send(client, Hello(os.getpid()))

    def _serve(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(client)
            if events & selectors.EVENT_READ:
                received = client.connection.recv(_READ_BYTES)
                if not received:
                    self._forget(client)
                for content in client.frames.feed(received):
                    self._take(client, decode_request(content))
        except BlockingIOError:
            return
        except (OSError, BrokenWire, msgspec.DecodeError):
            self._forget(client)

    def _take(self, client: _Client, message: Load | Run | Ping) -> None:
        if isinstance(message, Load):
            self._limits[message.key] = min(self._limits.get(message.key, message.rows_max), message.rows_max)
        if isinstance(message, Run):
            self._waiting.setdefault(message.key, deque()).append((client, message))
        elif isinstance(message, Ping):
            self._send(client, Pong())
        elif message.key in self._graphs:
            client.uses.add(message.key)
            self._send(client, Loaded(message.key, self._graphs[message.key].runtime, ""))
        else:
            self._begin_loading(client, message)

    def _begin_loading(self, client: _Client, message: Load) -> None:
        """Load beside what is served: others' runs go on."""
        is_loading = message.key in self._loading
        self._loading.setdefault(message.key, []).append(client)
        if not is_loading:
            threading.Thread(target=self._load_one, args=(message,), daemon=True).start()

    def _load_one(self, message: Load) -> None:
        try:
            graph: LoadedGraph | str = self._load(message)
        except RuntimeRefused as refusal:
            graph = refusal.reason
        except MemoryError:
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - whoever waits for the graph must hear that it will not come
            graph = f"it cannot be loaded ({type(error).__name__})"
        self._finished.append((message.key, graph))
        self._wake.send(b"x")

    def _graph_is_ready(self, _events: int) -> None:
        self._woken.recv(64)
        while self._finished:
            key, graph = self._finished.popleft()
            problem = graph if isinstance(graph, str) else ""
            waiting = self._loading.pop(key, [])
            if isinstance(graph, LoadedGraph) and waiting:
                self._graphs[key] = graph
            for client in waiting:
                if not problem:
                    client.uses.add(key)
                self._send(client, Loaded(key, graph.runtime if isinstance(graph, LoadedGraph) else "", problem))
        gc.collect()
        gc.freeze()

    def _run_a_batch(self) -> None:
        key = next(iter(self._waiting))
        queue = self._waiting.pop(key)
        taken: list[tuple[_Client, Run]] = []
        rows = 0
        rows_max = min(self._rows_max, self._limits.get(key, self._rows_max))
        while queue and (not taken or rows + len(queue[0][1].rows) <= rows_max):
            taken.append(queue.popleft())
            rows += len(taken[-1][1].rows)
        if queue:
            self._waiting[key] = queue
        now = time.monotonic()
        late = [pair for pair in taken if pair[1].expires_s <= now]
        for client, run in late:
            self._send(client, Ran(run.id, [TOO_LATE] * len(run.rows)))
        self._run(key, [pair for pair in taken if pair[1].expires_s > now])

    def _run(self, key: str, taken: list[tuple[_Client, Run]]) -> None:
        graph = self._graphs.get(key)
        if graph is None:
            for client, run in taken:
                self._send(client, Ran(run.id, [NOT_LOADED] * len(run.rows)))
            return
        rows = [row for _, run in taken for row in run.rows]
        variants = [variant for _, run in taken for variant in run.variants]
        found = iter(_plain(graph.run_rows(rows, variants)))
        for client, run in taken:
            self._send(client, Ran(run.id, [next(found) for _ in run.rows]))

    def _send(self, client: _Client, message: Reply) -> None:
        client.owed += encode(message)
        try:
            self._flush(client)
        except OSError:
            self._forget(client)

    def _flush(self, client: _Client) -> None:
        """Send what the client's socket takes now; wait for it to take the rest."""
        try:
            sent = client.connection.send(client.owed)
            del client.owed[:sent]
        except BlockingIOError:
            pass
        if client in self._clients:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.owed else 0)
            registered = self._selector.get_key(client.connection)
            if registered.events != wanted:
                self._selector.modify(client.connection, wanted, registered.data)

    def _forget(self, client: _Client) -> None:
        """Close a connection, and let go of graphs that nobody else uses."""
        if client not in self._clients:
            return
        self._clients.discard(client)
        self._selector.unregister(client.connection)
        client.connection.close()
        for waiting in self._loading.values():
            while client in waiting:
                waiting.remove(client)
        for key in client.uses:
            if not any(key in other.uses for other in self._clients):
                self._graphs.pop(key, None)
                self._limits.pop(key, None)


def _plain(found: Iterable[Numbers | InferenceFailed]) -> Iterable[Numbers | str]:
    return (one.reason if isinstance(one, InferenceFailed) else one for one in found)


def load_on(device: Device) -> LoadGraph:
    """Return what loads and warms a graph on a device."""

    def load(message: Load) -> LoadedGraph:
        graph = LoadedGraph(message.signature, message.graph, device)
        graph.warm_up()
        return graph

    return load


def limit_memory(limit_bytes: int) -> None:
    """Let an allocation beyond the limit fail in this process, instead of taking the machine's memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def main(listener: int, device: str, parent: int, memory_bytes_max: int, rows_max: int) -> None:
    """Serve until ended."""
    die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a group's signal is for the servers, whose last requests still need this process
    sys.excepthook = _name_only
    threading.excepthook = lambda raised: _name_only(raised.exc_type)
    if not os.read(sys.stdin.fileno(), 1):
        return
    if memory_bytes_max:
        limit_memory(memory_bytes_max)
    door = socket.socket(fileno=listener)
    door.listen(BACKLOG)  # once more, by this process: the kernel then tells clients whom they are connected to
    worker = Worker(door, load_on(Device(device)), rows_max=rows_max)
    os.write(sys.stdout.fileno(), b"x")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads the pipe any more
    worker.serve()


def _name_only(kind: type[BaseException], *_more: object) -> None:
    """Say what ended the process, never in its own words: they may hold a patient's numbers."""
    sys.stderr.write(f"a worker ends: {kind.__name__}\n")


if __name__ == "__main__":
    _listener, _device, *_numbers = sys.argv[1:]
    main(int(_listener), _device, *map(int, _numbers))
