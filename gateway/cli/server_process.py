"""One of several server processes: `python -m gateway.cli.server_process LISTENER CHANNEL PARENT`, started by the supervisor only.

LISTENER and CHANNEL are numbers of inherited sockets; the settings come as JSON on standard input.
"""

import ctypes
import os
import signal
import socket
import sys

import msgspec
import typer

from gateway.audit.shared_log import SharedLog
from gateway.cli.serve import run_server
from gateway.config import Settings
from gateway.telemetry import configure_logging, log_crashes

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(listener: int, channel: int, parent: int) -> None:
    """Serve until told to stop, or until the supervisor is gone."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; the supervisor says when to stop
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    configure_logging(settings.logging.level, settings.logging.format)
    log_crashes()

    async def open_trail() -> SharedLog:
        return await SharedLog.open(socket.socket(fileno=channel), stop)

    run_server(settings, socket.socket(fileno=listener), open_trail)


def die_with_parent(parent: int) -> None:
    """Let the kernel end this process when the supervisor ends: without its log nothing may be answered."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the supervisor is gone")


def stop() -> None:
    """End gracefully: what is in work is refused, because its records cannot be written."""
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:4]))
    except typer.Exit as ended:  # there is no command line above this one to turn it into a status
        sys.exit(ended.exit_code)
