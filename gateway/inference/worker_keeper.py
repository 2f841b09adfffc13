"""Keeps one worker running: starts it when somebody connects, and another whenever one ends.

    with WorkerKeeper(folder, worker_command(Device.CPU, ...), Device.CPU) as keeper:
        WorkerConnection.open(socket_path(folder, Device.CPU))

The listening socket is the keeper's, so who connects while a worker is being replaced waits in line for the next one. A worker that no
model needs is never started.
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
QUICK_S = 1.0  # one that ends sooner after it was ready makes the next one wait
PAUSE_S, PAUSE_S_MAX = 0.05, 5.0
END_S_MAX = 5.0
PACKAGE_ROOT = Path(__file__).resolve().parents[2]

_log = get_logger("gateway.inference")


def socket_path(folder: Path, device: Device) -> Path:
    """Return where the worker of a device is reached."""
    return folder / f"{device.value}.sock"


def worker_command(device: Device, *, python: str = "", memory_bytes_max: int, rows_max: int) -> tuple[str, ...]:
    """Return how a worker is started; `python`: the interpreter of an environment of its own (the GPU build of the runtime needs one).

    The descriptors stand in the command as `{listener}` and `{ready}`.
    """
    memory = 0 if device is Device.GPU else memory_bytes_max  # CUDA reserves address space far beyond what it uses
    module = ("-m", "gateway.inference.worker")
    return (python or sys.executable, *module, "{listener}", "{ready}", device.value, str(os.getpid()), str(memory), str(rows_max))


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
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._keep, name=f"worker-{device.value}", daemon=True)

    @property
    def pid(self) -> int | None:
        """Return the process id of the worker that runs now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

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
            if self._process is not None:
                self._process.kill()
        self._stop.send(b"x")
        self._thread.join(END_S_MAX)
        for one in (self._listener, self._stop, self._stopped):
            one.close()
        self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        pause_s = PAUSE_S
        while self._somebody_connects():
            started = time.monotonic()
            process = self._start()
            if process is None:
                return
            status = process.wait()
            if self._stopping:
                return
            _log.error("a worker ended and is replaced", rung=self._device.value, status=status)
            pause_s = PAUSE_S if time.monotonic() - started > QUICK_S else min(2 * pause_s, PAUSE_S_MAX)
            if pause_s > PAUSE_S:
                select.select([self._stopped], [], [], pause_s)

    def _somebody_connects(self) -> bool:
        """Wait for a client; False: it is time to stop."""
        readable, _, _ = select.select([self._listener, self._stopped], [], [])
        return self._stopped not in readable

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Start a process and wait until it serves; one that does not is ended. None: it is time to stop."""
        readable, writable = os.pipe()
        numbers = {"listener": self._listener.fileno(), "ready": writable}
        with self._lock:
            if self._stopping:
                os.close(readable)
                os.close(writable)
                return None
            self._process = process = subprocess.Popen(  # noqa: S603 - our own interpreter or the configured one, without a shell
                [part.format(**numbers) for part in self._command],
                pass_fds=tuple(numbers.values()),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
            )
        os.close(writable)
        ready, _, _ = select.select([readable, self._stopped.fileno()], [], [], START_S_MAX)
        if readable not in ready:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        os.close(readable)
        return process
