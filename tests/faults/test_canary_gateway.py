"""A canary in every protected field, through every door of a running gateway: none may be found outside of answers.

The gateway runs as its own process with the most talkative log. Its folder (audit log with write-ahead log, keys, working folder, temporary
folder) is scanned byte by byte while it runs and after it stopped; so are its log, its metrics, and every error body and header.
"""

import contextlib
import http.server
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from canary import Canary, fields_of, scan_directory, scan_surfaces

from gateway.clock import SystemClock
from gateway.sandbox import SandboxServer
from gateway.sandbox.fixture import fixtures_dir, load_fixtures

ROOT = Path(__file__).resolve().parents[2]
READY_S_MAX = 60
COMMAND_S_MAX = 60

PATIENT_ID = "Kanarie-Pat-4711"
CANARIES = (
    Canary("patient id", PATIENT_ID),
    Canary("family name", "Kanarienzwölf-Ångström"),
    Canary("given name", "Serinus Gelbfeder"),
    Canary("identifier", "MRN-77120934-K"),
    Canary("birth date", "1967-03-29"),
    Canary("telephone", "+49 555 0917736"),
    Canary("address", "Voliere 17, Federstadt"),
    Canary("narrative", "Erzählung eines Vogels"),
    Canary("note", "patient keeps yellow birds"),
    Canary("display text", "Zitronengirlitz disorder"),
    Canary("order text", "Sonnenblumol 5 mg each dawn"),
    Canary("resource id", "obs-Kanarie-0815"),
    Canary("value", "5.40390625"),
    Canary("unit", "mmol/Lkanarie"),
    Canary("performer", "Practitioner/Dr-Federvieh"),
    Canary("user", "Practitioner/Pfleger-Girlitz"),
    Canary("bearer token", "eyJrYW5hcmllIjoidG9rZW4ifQ.c2lnbmF0dXI"),
    Canary("access token", "access-Kanarientoken-99"),
    Canary("parameter", "Flugrichtung-Kanarie"),
    Canary("server's words", "diagnostics naming Herr Gimpel"),
)
TEXT = {canary.field: canary.text for canary in CANARIES}
AUTHORIZATION = {"authorization": f"Bearer {TEXT['bearer token']}"}


# --- a patient of canaries ---------------------------------------------------------------------------------------------------------


def patient_of_canaries() -> list[dict]:
    """Return a synthetic patient's resources with a canary in every field that could name or describe a person."""
    resources = [one for one in load_fixtures(fixtures_dir(), SystemClock().now()) if one["id"].startswith("demo-si-units")]
    renamed = json.loads(json.dumps(resources).replace("demo-si-units", PATIENT_ID))
    for one in renamed:
        one["text"] = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{TEXT["narrative"]}</div>'}
        one["note"] = [{"text": TEXT["note"]}]
        one["performer"] = [{"reference": TEXT["performer"]}]
        for concept in (one.get("code"), one.get("medicationCodeableConcept"), one.get("valueCodeableConcept")):
            if concept:
                concept["text"] = TEXT["display text"]
                concept["coding"][0]["display"] = TEXT["order text"] if "medicationCodeableConcept" in one else TEXT["display text"]
    person = next(one for one in renamed if one["resourceType"] == "Patient")
    person |= {
        "name": [{"family": TEXT["family name"], "given": [TEXT["given name"]]}],
        "birthDate": TEXT["birth date"],
        "identifier": [{"system": "urn:mrn", "value": TEXT["identifier"]}],
        "telecom": [{"system": "phone", "value": TEXT["telephone"]}],
        "address": [{"text": TEXT["address"]}],
    }
    del person["performer"], person["note"]
    cholesterol = next(one for one in renamed if one["id"].endswith("total-cholesterol"))
    cholesterol["id"] = TEXT["resource id"]
    cholesterol["valueQuantity"]["value"] = float(TEXT["value"])
    strange = {
        **cholesterol,
        "id": "strange-unit",
        "valueQuantity": {"value": float(TEXT["value"]), "unit": TEXT["unit"], "code": TEXT["unit"]},
    }
    return [*renamed, strange]


def bundle(resources: list[dict]) -> dict:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


class Talkative(http.server.BaseHTTPRequestHandler):
    """A FHIR server that fails and tells everything about it."""

    def do_GET(self) -> None:
        """Answer with an error full of canaries."""
        body = json.dumps(
            {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": TEXT["server's words"]}]}
        ).encode()
        self.send_response(500, "Gimpel")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-detail", TEXT["identifier"])
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name http.server asks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def talkative_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Talkative)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/fhir"
    finally:
        server.shutdown()
        server.server_close()


# --- the process ---------------------------------------------------------------------------------------------------------------------


class Watched:
    """A gateway process and everything that came out of it, but the bodies of answers."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.surfaces: dict[str, str | bytes] = {}
        self.answered: list[int] = []
        self.hits_while_running: list = []
        self.files_while_running = 0
        (folder / "tmp").mkdir(parents=True)
        config = folder / "gateway.toml"
        config.write_text(
            f'[server]\nport = 0\n[fhir]\nbase_url = "{base_url}"\n[audit]\ndatabase = "{folder}/log/audit.db"\n'
            f'key_file = "{folder}/keys/kek.json"\n[logging]\nlevel = "debug"\nformat = "json"\n'
        )
        self._log = folder.parent / f"{folder.name}.log"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "gateway", *arguments, "--config", str(self.folder / "gateway.toml")]

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        return {**inherited, "TMPDIR": str(self.folder / "tmp"), "SQLITE_TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(ROOT)}

    @contextlib.contextmanager
    def running(self) -> Iterator[httpx.Client]:
        """Serve; afterwards the log is a surface."""
        with self._log.open("wb") as log:
            process = subprocess.Popen(self.command("serve"), cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, stderr=log)
        try:
            url = process.stdout.readline().decode().split()[-1]
            with httpx.Client(base_url=url, timeout=30, trust_env=False, headers=AUTHORIZATION) as client:
                wait_until_ready(client, process)
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=30)
            self.surfaces |= {"log": self._log.read_bytes(), "standard output": out}

    def keep(self, name: str, answer: httpx.Response) -> httpx.Response:
        """Keep what may hold nothing: the headers of every answer, and the body where it is an error."""
        self.answered.append(answer.status_code)
        self.surfaces[f"{name}: headers"] = str(answer.headers.raw)
        if answer.status_code >= 400:
            self.surfaces[f"{name}: error body"] = answer.content
        return answer

    def run(self, name: str, *arguments: str, **environment: str) -> None:
        """Run a command; its errors may hold nothing, what it prints may."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment(), **environment},
            capture_output=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        self.answered.append(done.returncode)
        self.surfaces[f"{name}: errors"] = done.stderr


def wait_until_ready(client: httpx.Client, process: subprocess.Popen) -> None:
    ends_at = time.monotonic() + READY_S_MAX
    while time.monotonic() < ends_at and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the gateway was not ready in time")


def parameters(*given: dict) -> dict:
    return {"resourceType": "Parameters", "parameter": list(given)}


def send_everything(client: httpx.Client, watched: Watched, resources: list[dict], base_url: str) -> None:
    """Go through every door: pull, inline, CDS Hooks, and every kind of error, each with canaries in it."""
    keep = watched.keep
    pull = f"/fhir/Patient/{PATIENT_ID}/$assess-risk"
    inline = parameters({"name": "record", "resource": bundle(resources)}, {"name": "recordComplete", "valueBoolean": True})
    keep("pull", client.post(pull, json=parameters()))
    keep("inline", client.post("/fhir/$assess-risk", json=inline))
    keep("unknown parameter", client.post(pull, json=parameters({"name": TEXT["parameter"], "valueString": TEXT["family name"]})))
    keep("bad asOf", client.post(pull, json=parameters({"name": "asOf", "valueDateTime": TEXT["birth date"] + "x"})))
    keep("bad setting", client.post(pull, json=parameters({"name": "setting", "valueCode": TEXT["note"]})))
    keep("bad model", client.post(pull, json=parameters({"name": "model", "valueString": TEXT["display text"]})))
    keep("unknown patient", client.post(f"/fhir/Patient/{PATIENT_ID}-nobody/$assess-risk", json=parameters()))
    keep("bad id", client.post(f"/fhir/Patient/{urllib.parse.quote(TEXT['given name'])}/$assess-risk", json=parameters()))
    keep("not JSON", client.post(pull, content=TEXT["family name"].encode(), headers={"content-type": "application/json"}))
    keep("wrong type", client.post(pull, content=TEXT["family name"].encode(), headers={"content-type": f"text/{PATIENT_ID}"}))
    keep("wrong accept", client.post(pull, json=parameters(), headers={"accept": f"text/{PATIENT_ID}"}))
    keep("query", client.post(f"{pull}?name={urllib.parse.quote(TEXT['family name'])}", json=parameters()))
    keep("unknown route", client.get(f"/{PATIENT_ID}/{urllib.parse.quote(TEXT['family name'])}"))
    keep("request id", client.get("/health/live", headers={"x-request-id": f"{TEXT['given name']};"}))
    keep("wrong method", client.get(pull))
    send_hooks(client, watched, resources, base_url)
    for page in ("/metrics", "/health/ready", "/fhir/metadata", "/cds-services"):
        watched.surfaces[page] = keep(page, client.get(page)).content


def send_hooks(client: httpx.Client, watched: Watched, resources: list[dict], base_url: str) -> None:
    def hook(**fields: object) -> httpx.Response:
        context = {"patientId": PATIENT_ID, "userId": TEXT["user"]}
        authorization = {
            "access_token": TEXT["access token"],
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "x",
            "subject": TEXT["user"],
        }
        request = {
            "hook": "patient-view",
            "hookInstance": "h",
            "context": context,
            "fhirServer": base_url,
            "fhirAuthorization": authorization,
        }
        return client.post("/cds-services/patient-risk", json=request | fields)

    (person,) = [one for one in resources if one["resourceType"] == "Patient"]
    kinds = {"observations": "Observation", "conditions": "Condition", "medications": "MedicationRequest", "encounters": "Encounter"}
    prefetch = {
        key: {**bundle([one for one in resources if one["resourceType"] == kind]), "type": "searchset"} for key, kind in kinds.items()
    }
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "exception", "diagnostics": TEXT["server's words"]}],
    }
    watched.keep("hook", hook(prefetch={"patient": person, **prefetch}))
    watched.keep("hook topped up", hook())
    watched.keep("hook that failed", hook(prefetch={"patient": person, **prefetch, "conditions": outcome}))
    watched.keep("hook of another", hook(prefetch={"patient": {**person, "id": f"{PATIENT_ID}-2"}, **prefetch}))
    watched.keep("hook elsewhere", hook(fhirServer=f"https://ehr.example/{PATIENT_ID}"))
    watched.keep("hook mismatch", hook(hook=TEXT["parameter"]))
    watched.keep("hook without context", hook(context={"userId": TEXT["user"]}))


def run_commands(watched: Watched, file: Path, broken: str) -> None:
    watched.run("assess", "assess", PATIENT_ID)
    watched.run("assess file", "assess", str(file), "--record-complete", "--json")
    watched.run("record show", "record", "show", PATIENT_ID, "--json")
    watched.run("assess nobody", "assess", f"{PATIENT_ID}-nobody")
    watched.run("assess badly", "assess", TEXT["given name"])
    watched.run("assess at", "assess", PATIENT_ID, "--as-of", TEXT["birth date"] + "x")
    watched.run("broken server", "assess", PATIENT_ID, GATEWAY__FHIR__BASE_URL=broken)
    watched.run("broken server, doctor", "doctor", GATEWAY__FHIR__BASE_URL=broken)
    watched.run("audit verify", "audit", "verify", "--payloads")
    watched.run("doctor", "doctor")


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Watched:
    """Run everything once."""
    outside, folder = tmp_path_factory.mktemp("outside"), tmp_path_factory.mktemp("canary") / "gateway"
    resources = patient_of_canaries()
    record = outside / "record.json"
    record.write_text(json.dumps(bundle(resources), ensure_ascii=False), encoding="utf-8")
    with SandboxServer(fixtures=outside) as sandbox, talkative_server() as broken:
        gateway = Watched(folder, sandbox.base_url)
        with gateway.running() as client:
            send_everything(client, gateway, resources, sandbox.base_url)
            run_commands(gateway, record, broken)
            gateway.hits_while_running, gateway.files_while_running = scan_directory(folder, CANARIES)
    return gateway


# --- what is found ----------------------------------------------------------------------------------------------------------------------


def test_every_door_was_gone_through(watched, figure):
    """The run was worth scanning: answers, refusals and commands of every kind, and a log with something in it."""
    figure(f"canaries: {len(CANARIES)} fields, {len(watched.surfaces)} surfaces, {watched.files_while_running} files while running")
    assert {200, 400, 404, 405, 406, 412, 415} <= set(watched.answered)
    assert {0, 1, 2} <= set(watched.answered)
    assert len(watched.surfaces["log"].splitlines()) > 10
    assert b"gateway_requests_total" in watched.surfaces["/metrics"]


def test_no_canary_in_logs_metrics_headers_and_errors(watched):
    """Nothing protected in any text that leaves the gateway, except in answers."""
    assert scan_surfaces(watched.surfaces, CANARIES) == []


def test_no_canary_in_any_file(watched):
    """Nothing protected in the raw bytes or names of any file: database, write-ahead log, keys, temporary files; running and stopped."""
    assert watched.hits_while_running == []
    assert watched.files_while_running >= 5
    hits, _ = scan_directory(watched.folder, CANARIES)
    assert hits == []


def test_the_answers_did_hold_the_canaries(watched):
    """The control of the run: the audit log's payloads, opened with the key, hold the patient, the values and the user."""
    done = subprocess.run(
        watched.command("audit", "show", "--payload", "--last", "500", "--json"),
        cwd=watched.folder,
        env=watched.environment(),
        capture_output=True,
        timeout=COMMAND_S_MAX,
        check=True,
    )
    shown = json.dumps(msgspec.json.decode(done.stdout), ensure_ascii=False)
    held = fields_of(scan_surfaces({"payloads": shown}, CANARIES))
    assert {"patient id", "resource id", "value", "user", "birth date"} <= held
    assert not {"bearer token", "access token", "server's words", "family name", "telephone"} & held


SURFACES = ("log", "standard output", "/metrics", "/health/ready", "bad asOf: error body", "pull: headers", "assess nobody: errors")


@pytest.mark.parametrize("surface", SURFACES)
def test_a_canary_planted_in_a_text_is_found(watched, surface):
    """One canary put into one surface of this very run is found there and nowhere else."""
    content = watched.surfaces[surface]
    planted = TEXT["family name"] if isinstance(content, str) else TEXT["family name"].encode()
    hits = scan_surfaces({**watched.surfaces, surface: content + planted}, CANARIES)
    assert {(hit.field, hit.place) for hit in hits} == {("family name", surface)}


@pytest.mark.parametrize("where", ["database", "write-ahead log", "temporary file", "file name", "key folder"])
def test_a_canary_planted_in_a_file_is_found(watched, tmp_path, where):
    """One canary put into one file of a copy of this very run's folder is found."""
    copy = tmp_path / "copy"
    shutil.copytree(watched.folder, copy)
    writer = plant(copy, where)
    try:
        hits, _ = scan_directory(copy, CANARIES)
    finally:
        writer.close()
    assert fields_of(hits) == {"patient id"}


def plant(folder: Path, where: str) -> sqlite3.Connection:
    """Put the patient id where it must not be; what is returned is closed after the scan."""
    connection = sqlite3.connect(folder / "log" / "audit.db", isolation_level=None)
    if where in {"database", "write-ahead log"}:
        connection.execute("CREATE TABLE leak (text TEXT)")
        connection.execute("INSERT INTO leak VALUES (?)", (PATIENT_ID,))
        if where == "database":
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            assert (folder / "log" / "audit.db-wal").stat().st_size > 0
    elif where == "file name":
        (folder / "tmp" / f"core.{PATIENT_ID}").touch()
    else:
        path = folder / ("tmp/etilqs_leak" if where == "temporary file" else "keys/leak")
        path.write_bytes(b"\x00" * 100 + PATIENT_ID.encode())
    return connection
