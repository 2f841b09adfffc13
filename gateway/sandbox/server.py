"""The sandbox over real HTTP on loopback, in a thread of its own."""

import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from gateway.clock import Clock, SystemClock
from gateway.sandbox.app import SandboxApp
from gateway.sandbox.fixture import fixtures_dir, load_fixtures
from gateway.sandbox.store import ResourceStore

_START_S_MAX = 30.0
_STOP_S_MAX = 10.0
_POLL_S = 0.01


class SandboxServer:
    """Serves the fixtures on `http://127.0.0.1:{port}/fhir` while its context is open.

    Dates are rendered against `clock` when the server is made. `port` 0 takes a free one. Never listens beyond loopback: it has no
    access control, because it has nothing to protect.
    """

    def __init__(self, *, clock: Clock | None = None, fixtures: Path | None = None, port: int = 0) -> None:
        now = (clock or SystemClock()).now()
        self.store = ResourceStore(load_fixtures(fixtures or fixtures_dir(), now))
        self.app = SandboxApp(self.store, date=now.date().isoformat())
        self._port = port
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """The FHIR base. Raises RuntimeError before the start."""
        if self._socket is None:
            raise RuntimeError("the sandbox is not running")
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/fhir"

    def start(self) -> None:
        """Listen, and return once requests are answered. Raises OSError when the port is taken."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._socket = listener
        config = uvicorn.Config(
            self.app, log_config=None, access_log=False, server_header=False, lifespan="on", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True)
        self._thread.start()
        ends_at = time.monotonic() + _START_S_MAX
        while not self._server.started:
            if time.monotonic() > ends_at or not self._thread.is_alive():
                self.stop()
                raise RuntimeError("the sandbox did not start")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop answering and release the port. Safe to call again."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_S_MAX)
        if self._socket is not None:
            self._socket.close()
        self._server, self._thread, self._socket = None, None, None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
