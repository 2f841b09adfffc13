"""Starts the gateway by its own command, as the benchmark measures it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gateway"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
CDS_PATH = "/cds-services/patient-risk"
REST_PATH = "/fhir/$assess-risk"
READY_S_MAX = 60.0

# Everything as in production, except: a card is shown for every patient, so that every answer is a whole one; and, for want of configured
# identities, the development profile with its named caller. As many server processes as this machine has cores, as the documentation
# advises. One model and what it reads, as the reference program runs one.
CONFIGURATION = """\
profile = "development"

[server]
processes = {processes}

[models]
enabled = ["prevent"]

[cds]
threshold = "always"

[audit]
database = "{folder}/audit.db"
key_file = "{folder}/kek.json"

[logging]
format = "json"
"""


def write_configuration(folder: Path) -> Path:
    """Write the configuration of a gateway whose log lies in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gateway.toml"
    path.write_text(CONFIGURATION.format(folder=folder, processes=os.cpu_count() or 1))
    return path


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `gateway serve` on a free port and give its URL; stop it gracefully afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **ENVIRONMENT, "GATEWAY__SERVER__PORT": str(port)}
    with (folder.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--config", str(write_configuration(folder))], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the gateway says that it can answer."""
    deadline = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/health/ready", timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the gateway is not ready (exit status {process.poll()}); see serve.log")
