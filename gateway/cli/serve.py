"""`gateway serve`."""

import contextlib
import socket

import uvicorn

from gateway.app import create_app
from gateway.cli.console import ConfigOption, fail, say
from gateway.config import Settings, SettingsError, load_settings, require_safe

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
    run_server(settings, listener)


def server_config(settings: Settings) -> uvicorn.Config:
    """Return how uvicorn serves the application: no access log (its lines hold patient ids), no server header, quick parsers.

    One process: two on one SQLite log wait for each other's lock, and at eight requests at once refused answers.
    """
    return uvicorn.Config(
        create_app(settings),
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


def run_server(settings: Settings, listener: socket.socket) -> None:
    """Serve on an open socket; a start that fails ends with status 2 and the reason."""
    server = uvicorn.Server(server_config(settings))
    with contextlib.suppress(SystemExit):  # how the server ends when the application did not start
        server.run(sockets=[listener])
    if not server.started:
        fail("the gateway did not start; the log says why, `gateway doctor` what to do")
