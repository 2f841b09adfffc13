"""`gateway serve`."""

import contextlib
import signal
import socket
from pathlib import Path

import uvicorn
import uvloop

from gateway.app import START_FAILURES, OpenTrail, create_app
from gateway.cli.console import ConfigOption, fail, say
from gateway.cli.fair_accept import FairServer
from gateway.cli.supervisor import supervise
from gateway.config import Settings, SettingsError, load_settings
from gateway.config_safety import require_safe
from gateway.telemetry import configure_logging

BACKLOG = 2048
NOT_STARTED = "the gateway did not start; the log says why, `gateway doctor` what to do"


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
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are releases to be loaded anew
    host, port = listener.getsockname()[:2]
    say(f"listening on http://{host}:{port}")
    if settings.server.processes > 1:
        run_processes(settings, listener)
    else:
        run_server(settings, listener)


def server_config(settings: Settings, open_trail: OpenTrail | None = None, workers: Path | None = None) -> uvicorn.Config:
    """Return how uvicorn serves the application: no access log (its lines hold patient ids), no server header, quick parsers."""
    return uvicorn.Config(
        create_app(settings, open_trail=open_trail, workers=workers),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.server.shutdown_grace_s),
        h11_max_incomplete_event_size=65_536,
        ws="none",
    )


def run_server(settings: Settings, listener: socket.socket, open_trail: OpenTrail | None = None, workers: Path | None = None) -> None:
    """Serve on an open socket; a start that fails ends with status 2 and the reason."""
    kind = FairServer if settings.server.processes > 1 else uvicorn.Server
    server = kind(server_config(settings, open_trail, workers))
    with contextlib.suppress(SystemExit):  # how the server ends when the application did not start
        server.run(sockets=[listener])
    if not server.started:
        fail(NOT_STARTED)


def run_processes(settings: Settings, listener: socket.socket) -> None:
    """Serve with several processes that share one audit log; a start that fails ends with status 2 and the reason."""
    configure_logging(settings.logging.level, settings.logging.format)
    try:
        good = uvloop.run(supervise(settings, listener))
    except START_FAILURES as failure:
        fail(f"the gateway did not start: {failure}")
    if not good:
        fail(NOT_STARTED)
