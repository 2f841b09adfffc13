"""The real gateway over real HTTP on loopback, in front of a FHIR server that misbehaves on request."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import uvicorn

from gateway.app import create_app
from gateway.audit import LogReader
from gateway.config import AuditSettings, FhirSettings, LoggingSettings, ModelSettings, ServerSettings, Settings
from gateway.sandbox import SandboxServer

START_S_MAX = 30.0
FHIR_JSON = {"content-type": "application/fhir+json"}


class Fault(msgspec.Struct, kw_only=True):
    """How the FHIR server fails for one resource type."""

    status: int = 200
    delay_s: float = 0.0
    body: bytes = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception"}]}'


class FaultyFhir:
    """The sandbox behind a door: `faults` by resource type, `seen` requests in order. A fault without a status only delays."""

    def __init__(self, app) -> None:
        self._app = app
        self.faults: dict[str, Fault] = {}
        self.seen: list[str] = []

    async def __call__(self, scope, receive, send) -> None:
        """Answer one request, well or badly."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kind = scope["path"].removeprefix("/fhir/").partition("/")[0]
        self.seen.append(kind)
        fault = self.faults.get(kind)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay_s)
        if fault.status == 200:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/fhir+json"), (b"content-length", str(len(fault.body)).encode())]
        await send({"type": "http.response.start", "status": fault.status, "headers": headers})
        await send({"type": "http.response.body", "body": fault.body})


@contextlib.contextmanager
def faulty_fhir() -> Iterator[tuple[FaultyFhir, str]]:
    """Serve the project's synthetic patients behind a FaultyFhir; give it and its base URL."""
    sandbox = SandboxServer()
    door = FaultyFhir(sandbox.app)
    sandbox.app = door
    with sandbox:
        yield door, sandbox.base_url


class Served:
    """A running gateway."""

    def __init__(self, url: str, settings: Settings, app) -> None:
        self.url = url
        self.settings = settings
        self.app = app
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def assess(self, patient: str, *parameters: dict, **headers: str) -> httpx.Response:
        """Post `Patient/{id}/$assess-risk`."""
        return self.http.post(f"/fhir/Patient/{patient}/$assess-risk", json=parameters_of(*parameters), headers={**FHIR_JSON, **headers})

    def log(self) -> list[dict]:
        """Return the headers of all audit records, in order."""
        with LogReader(Path(self.settings.audit.database)) as reader:
            return [dict(record.fields) for record in reader.records()]

    def log_of(self, request_id: str) -> list[dict]:
        """Return the headers of the audit records of one request."""
        return [fields for fields in self.log() if fields["request_id"] == request_id]

    def types_of(self, request_id: str) -> list[str]:
        """Return the types of the audit records of one request."""
        return [fields["type"] for fields in self.log_of(request_id)]


def parameters_of(*parameters: dict) -> dict:
    """Return a Parameters resource."""
    return {"resourceType": "Parameters", "parameter": list(parameters)}


def settings_in(folder: Path, base_url: str, **server: object) -> Settings:
    """Return settings with everything in one folder."""
    return Settings(
        server=ServerSettings(port=0, **server),
        fhir=FhirSettings(base_url=base_url, batch="never", attempts_max=1),
        audit=AuditSettings(database=str(folder / "log" / "audit.db"), key_file=str(folder / "keys" / "kek.json"), wait_s_max=1.0),
        logging=LoggingSettings(level="error"),
        models=ModelSettings(enabled=("prevent", "ckdepi2021")),  # the edges do not depend on how many there are
    )


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    """Serve the gateway in a thread; stop it gracefully afterwards."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings)
    config = uvicorn.Config(app, loop="asyncio", http="httptools", lifespan="on", log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    ends_at = time.monotonic() + START_S_MAX
    while not server.started:
        if not thread.is_alive() or time.monotonic() > ends_at:
            raise RuntimeError("the gateway did not start")
        time.sleep(0.01)
    served = Served(f"http://127.0.0.1:{listener.getsockname()[1]}", settings, app)
    try:
        yield served
    finally:
        served.http.close()
        server.should_exit = True
        thread.join(30)
        listener.close()
