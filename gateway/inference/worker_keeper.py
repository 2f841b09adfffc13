"""Keeps one worker running: starts it when somebody connects, and another whenever one ends.

    with WorkerKeeper(folder, worker_command(Device.CPU, ...), Device.CPU) as keeper:
        WorkerConnection.open(socket_path(folder, Device.CPU))

The listening socket is the keeper's, so who connects while a worker is being replaced waits in line for the next one. While one serves,
another has imported the runtime and waits for its turn: replacing takes a tenth of a second instead of a whole one. A worker that no model
needs is never started.
"""

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.inference.result import Device
from gateway.inference.wire import BACKLOG
from gateway.telemetry import get_logger

START_S_MAX = 30.0  # a worker that is not ready by then is ended
QUICK_S, QUICK_MAX = 1.0, 3  # several that end so soon, one after the other, make the next one wait
PAUSE_S, PAUSE_S_MAX = 0.1, 5.0
END_S_MAX = 5.0
PACKAGE_ROOT = Path(__file__).resolve().parents[2]

_log = get_logger("gateway.inference")


def socket_path(folder: Path, device: Device) -> Path:
    """Return where the worker of a device is reached."""
    return folder / f"{device.value}.sock"


def worker_command(device: Device, *, python: str = "", memory_bytes_max: int, rows_max: int) -> tuple[str, ...]:
    """Return how a worker is started; `python`: the interpreter of an environment of its own (the GPU build of the runtime needs one).

    The descriptor of the listening socket stands in the command as `{listener}`.
    """
    memory = 0 if device is Device.GPU else memory_bytes_max  # CUDA reserves address space far beyond what it uses
    module = ("-P", "-m", "gateway.inference.worker")  # -P: nothing is imported from the folder in which the gateway was started
    return (python or sys.executable, *module, "{listener}", device.value, str(os.getpid()), str(memory), str(rows_max))


class WorkerKeeper:
    """Owns the listening socket of one device and whichever process serves it now."""

    def __init__(self, folder: Path, command: Sequence[str], device: Device) -> None:
        """`folder`: private to this user; it gets the socket."""
        self._command = command
        self._device = device
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = socket_path(folder, device)
        self._stop, self._stopped = socket.socketpair()
        self._lock = threading.Lock()
        self._spare: subprocess.Popen[bytes] | None = None  # the one that waits for its turn
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._keep, name=f"worker-{device.value}", daemon=True)

    def __enter__(self) -> Self:
        """Open the socket; the first who connects starts the worker."""
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(BACKLOG)
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        """End the worker, and start no other."""
        with self._lock:
            self._stopping = True
            for process in self._processes:
                process.kill()
        self._stop.send(b"x")
        self._thread.join(END_S_MAX)
        for process in self._processes:
            process.wait(END_S_MAX)
            _close_pipes(process)
        for one in (self._listener, self._stop, self._stopped):
            one.close()
        self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        quick = 0
        while self._somebody_connects():
            started = time.monotonic()
            status = self._serve_once()
            if self._stopping:
                return
            _log.error("a worker ended and is replaced", rung=self._device.value, status=status)
            quick = quick + 1 if time.monotonic() - started < QUICK_S else 0
            if quick >= QUICK_MAX:
                _readable(self._stopped.fileno(), timeout_s=min(PAUSE_S * 2 ** (quick - QUICK_MAX), PAUSE_S_MAX))

    def _serve_once(self) -> int:
        """Let one worker serve until it ends, and return its status; -1 where none could be started."""
        try:
            process = self._put_to_work()
        except Exception as error:  # noqa: BLE001 - no such interpreter, no room for a process: whatever it is, the keeper tries again
            _log.error("a worker cannot be started", rung=self._device.value, fault=type(error).__name__)
            return -1
        try:
            self._spare = self._start()  # the next one: it has imported the runtime when it is needed
        except Exception as error:  # noqa: BLE001 - the one that serves goes on without
            _log.error("no second worker can be started", rung=self._device.value, fault=type(error).__name__)
        return process.wait() if process is not None else 0

    def _somebody_connects(self) -> bool:
        """Wait for a client; False: it is time to stop."""
        return self._stopped.fileno() not in _readable(self._listener.fileno(), self._stopped.fileno())

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Start a process that waits for its turn. None: it is time to stop."""
        with self._lock:
            if self._stopping:
                return None
            process = subprocess.Popen(  # noqa: S603 - our own interpreter or the configured one, without a shell
                [part.replace("{listener}", str(self._listener.fileno())) for part in self._command],
                pass_fds=(self._listener.fileno(),),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))},
            )
            self._processes.append(process)
            return process

    def _put_to_work(self) -> subprocess.Popen[bytes] | None:
        """Let the waiting process serve, or a new one, and return it when it does; one that never does is ended."""
        process = self._spare if self._spare is not None and self._spare.poll() is None else self._start()
        self._spare = None
        if process is None:
            return None
        if process.stdin is None or process.stdout is None:
            raise TypeError("the process was started with pipes")
        with contextlib.suppress(OSError):
            process.stdin.write(b"x")
        if process.stdout.fileno() not in _readable(process.stdout.fileno(), self._stopped.fileno(), timeout_s=START_S_MAX):
            process.kill()
        self._forget_ended()
        return process

    def _forget_ended(self) -> None:
        """Close the pipes of processes that are gone."""
        for process in [one for one in self._processes if one.poll() is not None]:
            _close_pipes(process)
            self._processes.remove(process)


def _readable(*descriptors: int, timeout_s: float | None = None) -> set[int]:
    """Wait until one of the descriptors, of which there may be thousands in this process, can be read or has ended."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if timeout_s is None else 1000 * timeout_s)}


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
