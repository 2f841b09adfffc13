"""Builds, starts, fills and stops the real HAPI FHIR server of the acceptance tests.

The build (Maven libraries, one compiled class, a class archive) is made once, in a cache folder outside the clone:
`$GATEWAY_TEST_CACHE`, else `~/.cache/gateway-tests`. It needs Java 17, Maven and, the first time, the network.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent / "hapi"
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"
JVM = ["-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
BUILD_S_MAX = 900
READY_S_MAX = 180
STOP_S_MAX = 30


class HapiMissing(Exception):
    """HAPI cannot run here; the message says what is missing."""


def cache_folder() -> Path:
    """Return the folder in which builds survive the clone."""
    return Path(os.environ.get("GATEWAY_TEST_CACHE") or Path.home() / ".cache" / "gateway-tests")


def build() -> Path:
    """Return the folder with `hapi.jar` and `lib/`, building it where it is not there yet. Raises HapiMissing."""
    for tool in ("java", "javac", "jar", "mvn"):
        if shutil.which(tool) is None:
            raise HapiMissing(f"{tool} is not installed")
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("pom.xml", "HapiServer.java"))).hexdigest()[:16]
    folder = cache_folder() / f"hapi-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "hapi.lock").open("w") as lock:  # two test runs may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "hapi.jar").exists():
            _build_in(folder)
    return folder


def _build_in(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "classes").mkdir(parents=True)
    shutil.copy(SOURCE / "pom.xml", folder / "pom.xml")
    steps = [
        ["mvn", "-q", "-B", "-f", "pom.xml", COPY_DEPENDENCIES, "-DincludeScope=runtime", "-DoutputDirectory=lib"],
        ["javac", "-proc:none", "-cp", "lib/*", "-d", "classes", str(SOURCE / "HapiServer.java")],
        ["jar", "cf", "hapi.jar.new", "-C", "classes", "."],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, cwd=folder, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False)
        except subprocess.TimeoutExpired as error:
            raise HapiMissing(f"{step[0]} did not finish in {BUILD_S_MAX} s") from error
        if done.returncode != 0:
            raise HapiMissing(f"{step[0]} failed (network?): {(done.stderr or done.stdout)[-300:]}")
    (folder / "hapi.jar.new").rename(folder / "hapi.jar")


class HapiServer:
    """A running HAPI server. `base_url` ends in `/fhir`."""

    def __init__(self, base_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.base_url = base_url
        self._process = process
        self._log = log

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> tuple[int, object]:
        """Send one request and return status and decoded JSON (None when there is none)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.base_url}/{path}".rstrip("/"),
            data=data,
            method=method,
            headers={"Accept": "application/fhir+json", "Content-Type": "application/fhir+json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text.strip().startswith(b"{") else None

    def load(self, bundle: dict) -> list[str]:
        """Store one patient's Bundle as a transaction. Return what had to be repaired, and what the server refused, in words."""
        transaction, repairs = as_transaction(bundle)
        status, answer = self.request("POST", "", transaction)
        if status != 200:
            text = json.dumps(answer)[:300]
            return [*repairs, f"refused: {status} {text}"]
        return repairs

    def log_tail(self) -> str:
        """Return the end of the server's log, for a failing test."""
        return self._log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def running(**properties: str) -> Iterator[HapiServer]:
    """Start HAPI on a free port, wait until it answers, stop it with SIGTERM. `properties` become system properties (`_` is `.`)."""
    folder = build()
    port = _free_port()
    jars = ":".join(["hapi.jar", *sorted(str(path.relative_to(folder)) for path in (folder / "lib").glob("*.jar"))])
    settings = [f"-D{name.replace('_', '.')}={value}" for name, value in properties.items()]
    log = Path(tempfile.mkstemp(prefix="hapi-", suffix=".log")[1])
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["java", *JVM, *_archive(folder), f"-Dport={port}", *settings, "-cp", jars, "HapiServer"],
            cwd=folder,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = HapiServer(f"http://127.0.0.1:{port}/fhir", process, log)
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.unlink(missing_ok=True)


def _archive(folder: Path) -> list[str]:
    """Return the option that makes or uses a class archive (it saves seconds of every later start)."""
    archive = folder / "app.jsa"
    return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else [f"-XX:ArchiveClassesAtExit={archive}"]


def _wait_until_ready(server: HapiServer, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + READY_S_MAX
    while time.monotonic() < ends_at:
        if process.poll() is not None:
            raise HapiMissing(f"HAPI ended while starting: {server.log_tail()}")
        with contextlib.suppress(OSError):
            if server.request("GET", "metadata?_elements=fhirVersion")[0] == 200:
                return
        time.sleep(0.5)
    raise HapiMissing(f"HAPI was not ready within {READY_S_MAX} s: {server.log_tail()}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# --- a published Bundle becomes a transaction ---------------------------------------------------------------------------------------


def as_transaction(bundle: dict) -> tuple[dict, list[str]]:
    """Return a transaction of PUTs that keeps every id, and what had to be changed for it.

    Entries without an id take the one of their `urn:uuid` fullUrl; `urn:uuid` references become relative where their target is in the
    Bundle and are dropped where it is not; `Type?identifier=s|v` references become `identifier`.
    """
    entries = [entry for entry in bundle.get("entry", []) if "resource" in entry]
    known: dict[str, str] = {}
    for number, entry in enumerate(entries):
        resource, full_url = entry["resource"], entry.get("fullUrl", "")
        resource.setdefault("id", full_url.removeprefix("urn:uuid:") if full_url.startswith("urn:uuid:") else f"generated-{number}")
        known[full_url] = f"{resource['resourceType']}/{resource['id']}"
    repairs: dict[str, int] = {}
    puts = []
    for entry in entries:
        resource = _repaired(entry["resource"], known, repairs)
        puts.append({"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}})
    done = [f"{count} x {what}" for what, count in sorted(repairs.items())]
    return {"resourceType": "Bundle", "type": "transaction", "entry": puts}, done


def _repaired(node, known: dict[str, str], repairs: dict[str, int]):
    if isinstance(node, list):
        return [_repaired(one, known, repairs) for one in node]
    if not isinstance(node, dict):
        return node
    node = {key: _repaired(value, known, repairs) for key, value in node.items()}
    reference = node.get("reference")
    if isinstance(reference, str):
        _repair_reference(node, reference, known, repairs)
    return node


def _repair_reference(node: dict, reference: str, known: dict[str, str], repairs: dict[str, int]) -> None:
    if reference in known:
        node["reference"] = known[reference]
    elif reference.startswith("urn:uuid:"):
        del node["reference"]
        _count(repairs, "dangling urn:uuid reference dropped")
    elif "?identifier=" in reference:
        system, _, value = reference.split("?identifier=", 1)[1].partition("|")
        del node["reference"]
        node["identifier"] = {"system": system, "value": value} if value else {"value": system}
        _count(repairs, "conditional reference turned into an identifier")


def _count(repairs: dict[str, int], what: str) -> None:
    repairs[what] = repairs.get(what, 0) + 1
