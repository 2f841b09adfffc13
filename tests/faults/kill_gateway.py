"""The real gateway for the kill harness. With `--early-ack` its log answers before the commit, on purpose: the harness must notice."""

import argparse
import socket
from pathlib import Path

import uvicorn
from kill_target import open_early

import gateway.app
from gateway.audit import AuditLog, KeyFileKms
from gateway.cli.serve import run_processes, server_config
from gateway.clock import Clock
from gateway.config import AuditSettings, FhirSettings, LoggingSettings, ServerSettings, Settings


def main() -> None:
    """Serve on loopback until killed."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--fhir", required=True)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--early-ack", action="store_true")
    arguments.add_argument("--processes", type=int, default=1)
    given = arguments.parse_args()
    settings = Settings(
        server=ServerSettings(port=given.port, processes=given.processes),
        fhir=FhirSettings(base_url=given.fhir),
        audit=AuditSettings(database=str(given.folder / "audit.db"), key_file=str(given.folder / "keys" / "kek.json")),
        logging=LoggingSettings(level="error"),
    )
    if given.early_ack:
        gateway.app.open_audit = open_early_audit
    listener = socket.create_server(("127.0.0.1", given.port))
    if given.processes > 1:
        run_processes(settings, listener)
    else:
        uvicorn.Server(server_config(settings)).run(sockets=[listener])


def open_early_audit(settings: Settings, clock: Clock) -> AuditLog:
    """Open the log over a store that says "durable" before it is."""
    return AuditLog.open(Path(settings.audit.database), KeyFileKms(Path(settings.audit.key_file)), clock=clock, open_store=open_early)


if __name__ == "__main__":
    main()
