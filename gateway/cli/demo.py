"""`gateway demo`: the main job on embedded defaults: a FHIR server, a gateway, six patients, an audit log that notices one changed byte."""

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import typer
import uvicorn

from gateway.app import make_clock
from gateway.audit import LogReader, verify_log
from gateway.audit.open_kms import open_kms
from gateway.cli.answer_lines import answer_lines, essence
from gateway.cli.audit import report_lines
from gateway.cli.console import OUT, fail, say
from gateway.cli.serve import server_config
from gateway.config import AuditSettings, FhirSettings, LoggingSettings, ServerSettings, Settings, load_settings
from gateway.sandbox import SandboxServer, fixtures_dir

START_S_MAX = 60.0
REQUEST_S_MAX = 30.0

PATIENTS = (
    ("demo-complete", "a complete record"),
    ("demo-si-units", "the same kind of record in SI units"),
    ("demo-stale-lab", "cholesterol from six years ago"),
    ("demo-missing-lab", "no blood was ever drawn"),
    ("demo-prior-disease", "a heart attack in the past"),
    ("demo-impossible-value", "a blood pressure of 1320"),
)

# Which models the demo asks for: data beside its patients, because they show these alone.
DEMO_MODELS = "demo-models.txt"

ServeOption = Annotated[bool, typer.Option("--serve", help="Keep running afterwards, with the OpenAPI page at /docs.")]


def demo(serve: ServeOption = False) -> None:  # noqa: FBT002 - a flag of the command line
    """Run the main job on embedded defaults: no server, no account. Six synthetic patients, each with what was found and why."""
    base = load_settings()
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        clock = make_clock(base)
        with SandboxServer(clock=clock) as sandbox:
            settings = demo_settings(base, Path(folder), sandbox.base_url)
            with running_gateway(settings) as url:
                heading("A FHIR server with synthetic patients, and the gateway in front of it")
                say(f"FHIR server   {sandbox.base_url}")
                say(f"gateway       {url}")
                first = assess_patients(url)
                heading("The first RiskAssessment as the EHR receives it (one item of each list, text and codes left out)")
                say(essence(first))
                if serve:
                    heading("Running until interrupted")
                    say(f"OpenAPI page  {url}/docs")
                    wait_for_interrupt()
            check_audit(settings, Path(folder))
            where_next()


def demo_settings(base: Settings, folder: Path, fhir_base: str) -> Settings:
    """Return the given settings on embedded defaults: everything in one folder that goes away."""
    return msgspec.structs.replace(
        base,
        server=ServerSettings(port=0, openapi=True),
        fhir=FhirSettings(base_url=fhir_base),
        logging=LoggingSettings(level="error"),
        audit=AuditSettings(database=str(folder / "log" / "audit.db"), key_file=str(folder / "keys" / "kek.json")),
    )


@contextlib.contextmanager
def running_gateway(settings: Settings) -> Iterator[str]:
    """Serve the gateway in a thread and give its URL; stop it gracefully afterwards."""
    listener = socket.create_server((settings.server.host, settings.server.port))
    server = uvicorn.Server(server_config(settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway", daemon=True)
    thread.start()
    deadline = time.monotonic() + START_S_MAX
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            fail("the gateway did not start")
        time.sleep(0.01)
    try:
        yield f"http://{settings.server.host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(settings.server.shutdown_grace_s)
        listener.close()


def assess_patients(url: str) -> bytes:
    """Assess the six patients over HTTP, print each in words, and return the first answer's body."""
    bodies = []
    models = (fixtures_dir() / DEMO_MODELS).read_text(encoding="ascii").split()
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "model", "valueString": name} for name in models]}
    with httpx.Client(timeout=REQUEST_S_MAX, trust_env=False) as client:
        for patient, shows in PATIENTS:
            heading(f"{patient}: {shows}")
            answer = client.post(f"{url}/fhir/Patient/{patient}/$assess-risk", json=parameters)
            if answer.status_code != httpx.codes.OK:
                fail(f"the gateway answered {answer.status_code}: {answer.text}")
            bodies.append(answer.content)
            for line in answer_lines(answer.content):
                say(line)
            say(f"audit receipt {answer.headers['audit-receipt']}")
    return bodies[0]


def check_audit(settings: Settings, folder: Path) -> None:
    """Verify the log, then change one byte of a copy and show that it is noticed."""
    heading("The audit log")
    database = Path(settings.audit.database)
    kms = open_kms(settings)
    for line in report_lines(verify_log(database, kms)):
        say(line)
    with LogReader(database) as reader:
        kinds = [str(record.fields["type"]) for record in reader.records()]
    say(f"{kinds.count('ACCESS')} times ACCESS before a record was read, {kinds.count('RESULT')} times RESULT before an answer left")
    heading("One byte of a copy changed")
    copy = folder / "copy.db"
    shutil.copy(database, copy)
    flip_one_byte(copy)
    for line in report_lines(verify_log(copy)):
        say(line)


def flip_one_byte(database: Path) -> None:
    """Flip one bit of the first encrypted payload in the file itself, as somebody with the disk could."""
    with LogReader(database) as reader:
        payload = next(record.payload for record in reader.records() if record.payload)
    raw = bytearray(database.read_bytes())
    raw[raw.find(payload[:64]) + 8] ^= 1
    database.write_bytes(raw)


def where_next() -> None:
    """Say where to go from here."""
    heading("Where to go next")
    say("gateway demo --serve          keep it running, with its OpenAPI page")
    say("gateway assess FILE.json      assess a Bundle file of your own (see --help)")
    say("gateway serve --config FILE   serve your own FHIR server: set fhir.base_url in the file")
    say("gateway doctor                is everything there, and if not, what to do")
    say("README.md, docs/              how it works, how to integrate it")


def heading(text: str) -> None:
    """Print a heading: bold on a terminal, plain text elsewhere."""
    say()
    OUT.print(f"== {text} ==", markup=False, style="bold" if OUT.is_terminal else None)


def wait_for_interrupt() -> None:
    """Wait until the user interrupts."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
