"""A connection to a worker that is waited for: to load and test graphs before anybody is served, and from the command line.

The kernel says which process listens at the other end, so that a worker that hangs or lies can be ended by whoever notices.
"""

import contextlib
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from gateway.inference.result import Device, EngineResult, InferenceFailed, Numbers, RuntimeRefused, Signature, believed, checked_inputs
from gateway.inference.tested import TestedGraph, disagreement
from gateway.inference.wire import BrokenWire, Frames, Hello, Load, Loaded, Ran, Reply, Request, Run, decode_reply, encode

HELLO_S_MAX = 30.0  # a worker that is being started imports the runtime first
LOAD_S_MAX = 60.0
RUN_S_MAX = 10.0  # of a few rows of a self-test
GIVE_UP_S = 0.25  # between two questions whether to wait any longer
_ATTEMPTS = 5
_READ_BYTES = 256 * 1024
_CREDENTIALS = struct.Struct("3i")

Kind = TypeVar("Kind", bound=Reply)


class WorkerLost(Exception):
    """The worker ended, hung or broke off; `reason` is ours."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WrongNumbers(WorkerLost):
    """The worker's self-test gave what cannot be believed."""


class WorkerConnection:
    """A connection to whichever worker serves a socket now."""

    def __init__(self, connection: socket.socket, give_up: Callable[[], bool]) -> None:
        """See `open`."""
        self._give_up = give_up
        self.socket = connection
        self.pid = 0
        self._frames = Frames()
        self._arrived: list[Reply] = []
        self._runs = 0

    @classmethod
    def open(cls, path: Path, give_up: Callable[[], bool] = lambda: False) -> Self:
        """Connect and wait until the worker says who it is. `give_up`: asked several times a second while something is waited for.

        Raises:
            WorkerLost: there is none, or it does not say so in time.
        """
        until = time.monotonic() + HELLO_S_MAX
        for _ in range(_ATTEMPTS):
            opened = cls._open_once(path, until, give_up)
            if opened is not None:
                return opened
        raise WorkerLost("the worker does not stay")

    @classmethod
    def _open_once(cls, path: Path, until: float, give_up: Callable[[], bool]) -> Self | None:
        """Connect; None: while a worker was being replaced, so that the kernel knows the wrong one."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened = cls(connection, give_up)
        try:
            connection.settimeout(max(until - time.monotonic(), 0.001))
            connection.connect(str(path))
            listens = _listening_pid(connection)
            hello = opened._receive(Hello, until)
        except (OSError, WorkerLost) as error:
            opened.close()
            if isinstance(error, WorkerLost) and time.monotonic() < until and not give_up():
                return None  # it ended before it could say anything: the next one will
            raise WorkerLost("there is no worker") from None
        if listens not in (None, hello.pid):
            opened.close()
            return None
        opened.pid = hello.pid
        return opened

    def load(self, key: str, signature: Signature, graph: bytes, rows_max: int) -> str:
        """Let the worker load a graph, of which at most `rows_max` rows run at once, and return its runtime in words.

        Raises:
            RuntimeRefused: the worker's runtime refuses the graph.
            WorkerLost: it ended or did not answer in time.
        """
        until = time.monotonic() + LOAD_S_MAX
        self._send(Load(key, signature, graph, rows_max), until)
        loaded = self._receive(Loaded, until)
        if loaded.problem:
            raise RuntimeRefused("model.onnx", loaded.problem)
        return loaded.runtime

    def run_rows(
        self, key: str, rows: Sequence[list[float]], variants: Sequence[int | None], timeout_s: float = RUN_S_MAX
    ) -> list[Numbers | str]:
        """Run rows and return what came back, which nobody has looked at.

        Raises:
            WorkerLost: it ended or did not answer in time.
        """
        self._runs += 1
        until = time.monotonic() + timeout_s
        self._send(Run(self._runs, key, list(rows), list(variants), until), until)
        ran = self._receive(Ran, until)
        if ran.id != self._runs:
            raise WorkerLost("the worker answered another question")
        return ran.rows

    def self_test(self, tested: TestedGraph) -> None:
        """Run the golden rows, as one who asks would.

        Raises:
            WrongNumbers: they differ from those that passed the vectors.
            WorkerLost: the worker ended or did not answer in time.
        """
        for piece in tested.pieces():
            found = self.run_rows(tested.key, [row.values for row in piece], [row.variant for row in piece])
            difference = disagreement(tested, piece, found)
            if difference:
                raise WrongNumbers(difference)

    def kill(self) -> None:
        """End the worker at the other end, and close."""
        if self.pid:
            kill_worker(self.pid)
        self.close()

    def close(self) -> None:
        """Close; the worker stays."""
        with contextlib.suppress(OSError):
            self.socket.close()

    def _send(self, message: Request, until: float) -> None:
        try:
            self.socket.settimeout(max(until - time.monotonic(), 0.001))
            self.socket.sendall(encode(message))
        except OSError:
            raise WorkerLost("the worker broke off") from None

    def _receive(self, kind: type[Kind], until: float) -> Kind:
        while True:
            for place, reply in enumerate(self._arrived):
                if isinstance(reply, kind):
                    del self._arrived[place]
                    return reply
            try:
                self.socket.settimeout(max(min(until - time.monotonic(), GIVE_UP_S), 0.001))
                received = self.socket.recv(_READ_BYTES)
                if not received:
                    raise WorkerLost("the worker ended")
                self._arrived += [decode_reply(content) for content in self._frames.feed(received)]
            except TimeoutError:
                if time.monotonic() >= until or self._give_up():
                    raise WorkerLost("the worker did not answer in time") from None
            except (OSError, BrokenWire, msgspec.DecodeError):
                raise WorkerLost("the worker broke off") from None


class WorkerRunner:
    """One loaded graph behind a connection, with the runs that tests make: one row at a time, each judged."""

    def __init__(self, connection: WorkerConnection, key: str, signature: Signature, graph: bytes, rows_max: int) -> None:
        """Load the graph.

        Raises:
            RuntimeRefused: the worker refuses it, or does not survive it.
        """
        self._connection = connection
        self._key = key
        self.signature = signature
        try:
            self._runtime = connection.load(key, signature, graph, rows_max)
        except WorkerLost as lost:
            connection.kill()
            raise RuntimeRefused("model.onnx", lost.reason) from None

    def run(self, tensors: Mapping[str, float], variant_index: int | None) -> EngineResult:
        """Run one row.

        Raises:
            InferenceFailed: wrong inputs, a failure of the worker, or a result that cannot be believed.
        """
        values = checked_inputs(self.signature, tensors, variant_index)
        if not self.signature.may_run(values):
            return self.signature.not_run(Device.CPU, self._runtime)
        try:
            (numbers,) = self._connection.run_rows(self._key, [values], [variant_index])
        except (WorkerLost, ValueError) as lost:
            self._connection.kill()  # what it would still say belongs to this row and must not be taken for the next one's
            raise InferenceFailed(lost.reason if isinstance(lost, WorkerLost) else "the worker gave another number of rows") from None
        if isinstance(numbers, str):
            raise InferenceFailed(numbers)
        return believed(self.signature, numbers, Device.CPU, self._runtime)

    def run_together(self, rows: Sequence[list[float]], variants: Sequence[int | None]) -> list[Numbers | str]:
        """Run rows of different patients in one run, and return what came back, which nobody has looked at.

        Raises:
            RuntimeRefused: the worker did not survive it.
        """
        try:
            return self._connection.run_rows(self._key, rows, variants)
        except WorkerLost as lost:
            self._connection.kill()
            raise RuntimeRefused("model.onnx", lost.reason) from None


def kill_worker(pid: int) -> None:
    """End a worker at once, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _listening_pid(connection: socket.socket) -> int | None:
    """Return which process listens at the other end, as the kernel knows it; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(found)
    return int(pid)
