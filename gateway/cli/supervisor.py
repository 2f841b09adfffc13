"""Several server processes and the one that owns the audit log.

    supervisor          owns the audit log (writer, keys, head), accepts nothing from outside, starts the others and restarts one that dies
    workers             run the models that are not tiny, one per device for all server processes, so that their requests batch
    server processes    accept connections on the same listening socket, answer requests, ask the supervisor to append

A server process without the supervisor can answer nothing, so it ends when the supervisor does, however that ends.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import msgspec

from gateway.app import make_clock, open_audit
from gateway.audit.log import AuditLog
from gateway.audit.shared_log import LogHost
from gateway.cli.console import Exit
from gateway.config import Settings
from gateway.inference.runtime import open_workers
from gateway.served_models import runtime_plan
from gateway.telemetry import SHARED_METRICS_VARIABLE, get_logger

RESTART_S = 0.2
QUICK_DEATHS_MAX = 5  # of one process, each within QUICK_S of its start: then it is no accident
QUICK_S = 5.0
SERVING_S = 30.0  # a process that lives so long has started
RETRY_S = 10.0
KILL_AFTER_S = 5.0  # beyond the grace that requests in work get

_log = get_logger("gateway.supervisor")


async def supervise(settings: Settings, listener: socket.socket) -> bool:
    """Run the server processes until told to stop; tell whether they started.

    Raises:
        gateway.audit.log.AuditLogError: the log cannot be used.
        gateway.audit.kms.KeyFailure: its keys cannot be used.
    """
    audit = open_audit(settings, make_clock(settings), on_loop=True)
    metrics = tempfile.mkdtemp(prefix="gateway-metrics-")
    try:
        with open_workers(runtime_plan(settings)) as workers:
            return await _Supervisor(settings, listener, audit, metrics, workers).run()
    finally:
        await audit.aclose()
        shutil.rmtree(metrics, ignore_errors=True)


class _Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket, audit: AuditLog, metrics: str, workers: Path) -> None:
        self._settings = settings
        self._listener = listener
        self._audit = audit
        self._metrics = metrics
        self._workers = workers
        self._processes: dict[asyncio.subprocess.Process, float] = {}  # and since when
        self._stopping = asyncio.Event()
        self._good = True

    async def run(self) -> bool:
        """Keep the processes running until one of them cannot start, or a signal asks for the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        await asyncio.gather(*[self._keep_running() for _ in range(self._settings.server.processes)])
        return self._good

    def _reload(self) -> None:
        """Let every process load the releases anew."""
        for process in () if self._stopping.is_set() else tuple(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    async def _keep_running(self) -> None:
        """Run one process, and another in its place when it dies."""
        quick_deaths = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started = loop.time()
            try:
                status = await self._run_one()
            except OSError as error:  # no room for a process now: those that serve go on
                _log.error("a server process cannot be started", fault=type(error).__name__)
                status = -1
            if self._stopping.is_set():
                return
            quick_deaths = quick_deaths + 1 if loop.time() - started < QUICK_S else 0
            refused = status == Exit.COULD_NOT_RUN or quick_deaths >= QUICK_DEATHS_MAX
            if refused and any(loop.time() - since > SERVING_S for since in self._processes.values()):
                _log.error("a server process does not start any more, others serve", status=status)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), RETRY_S)
                continue
            if refused:
                self._good = False
                self._stopping.set()
                return
            _log.error("a server process ended and is replaced", status=status)
            await asyncio.sleep(RESTART_S)

    async def _run_one(self) -> int:
        """Start one process, serve it from the log, and return its exit status."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.cli.server_process",
                str(self._listener.fileno()),
                str(theirs.fileno()),
                str(os.getpid()),
                str(self._workers),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(self._listener.fileno(), theirs.fileno()),
                env={**os.environ, SHARED_METRICS_VARIABLE: self._metrics},
            )
        self._processes[process] = asyncio.get_running_loop().time()
        try:
            await LogHost(self._audit).serve(ours)
            await _hand_over(process, msgspec.json.encode(self._settings))
            ended = asyncio.create_task(process.wait())
            asked = asyncio.create_task(self._stopping.wait())
            await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._end(process, ended)
            asked.cancel()
            return await ended
        finally:
            del self._processes[process]

    async def _end(self, process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        """Ask a process to finish what it has in work; end it where it does not."""
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        done, _ = await asyncio.wait((ended,), timeout=self._settings.server.shutdown_grace_s + KILL_AFTER_S)
        if not done:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def _hand_over(process: asyncio.subprocess.Process, settings: bytes) -> None:
    """Give a process its settings: the same for all, whatever has become of the file since."""
    if process.stdin is None:
        raise TypeError("the process was started with a pipe")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died at once: its status says so
        process.stdin.write(settings)
        await process.stdin.drain()
        process.stdin.close()
