"""One of several server processes: `python -m gateway.cli.server_process LISTENER CHANNEL PARENT WORKERS`, started by the supervisor only.

LISTENER and CHANNEL are numbers of inherited sockets, WORKERS the folder in which the workers are reached; the settings come as JSON on
standard input.
"""

import signal
import socket
import sys
from pathlib import Path

import msgspec
import typer

from gateway.audit.shared_log import SharedLog
from gateway.cli.serve import run_server
from gateway.config import Settings
from gateway.process import die_with_parent
from gateway.telemetry import configure_logging, log_crashes


def main(listener: int, channel: int, parent: int, workers: Path) -> None:
    """Serve until told to stop, or until the supervisor is gone."""
    die_with_parent(parent)  # without the supervisor's log nothing may be answered
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; the supervisor says when to stop
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are releases to be loaded anew
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    configure_logging(settings.logging.level, settings.logging.format)
    log_crashes()

    async def open_trail() -> SharedLog:
        return await SharedLog.open(socket.socket(fileno=channel), stop)

    run_server(settings, socket.socket(fileno=listener), open_trail, workers)


def stop() -> None:
    """End gracefully: what is in work is refused, because its records cannot be written."""
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    except typer.Exit as ended:  # there is no command line above this one to turn it into a status
        sys.exit(ended.exit_code)
