"""`gateway serve`."""

import os
import socket
import tempfile
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from gateway.app import create_app, worker_app
from gateway.cli.console import ConfigOption, fail, say
from gateway.config import CONFIG_VARIABLE, Settings, SettingsError, load_settings, require_safe
from gateway.telemetry import SHARED_METRICS_VARIABLE

BACKLOG = 2048


def serve(config: ConfigOption = None) -> None:
    """Serve REST, CDS Hooks, health and metrics until told to stop."""
    try:
        settings = load_settings(config)
        require_safe(settings)
    except SettingsError as error:
        fail(str(error))
    try:
        listener = socket.create_server((settings.server.host, settings.server.port), backlog=BACKLOG)
    except OSError as error:
        fail(f"cannot listen on {settings.server.host}:{settings.server.port}: {error.strerror}")
    host, port = listener.getsockname()[:2]
    say(f"listening on http://{host}:{port}")
    if settings.server.workers == 1:
        run_server(settings, listener)
    else:
        run_workers(settings, listener, config)


def server_config(settings: Settings) -> uvicorn.Config:
    """Return how uvicorn serves the application in this process."""
    return _config(settings, create_app(settings))


def _config(settings: Settings, application: FastAPI | str) -> uvicorn.Config:
    """No access log (its lines hold patient ids), no server header, quick parsers. An application by name is made in each worker."""
    return uvicorn.Config(
        application, factory=isinstance(application, str), workers=settings.server.workers, loop="uvloop", http="httptools", lifespan="on",
        log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=round(settings.server.shutdown_grace_s),
        h11_max_incomplete_event_size=65_536, ws="none",
    )


def run_server(settings: Settings, listener: socket.socket) -> None:
    """Serve on an open socket; a start that fails ends with status 2 and the reason."""
    server = uvicorn.Server(server_config(settings))
    server.run(sockets=[listener])
    if not server.started:
        fail("the gateway did not start; the log says why, `gateway doctor` what to do")


def run_workers(settings: Settings, listener: socket.socket, config: Path | None) -> None:
    """Serve by several processes on one socket; a supervisor starts a dead one again. Their counts are added up in one folder."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-") as folder:
        os.environ[SHARED_METRICS_VARIABLE] = folder
        Multiprocess(_config(settings, f"{worker_app.__module__}:{worker_app.__name__}"), sockets=[listener]).run()
