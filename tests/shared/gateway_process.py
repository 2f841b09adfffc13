"""The real gateway in its own process, as an operator starts it: a configuration file and `gateway serve`; and its command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[2]
READY_S_MAX = 60
STOP_S_MAX = 30
COMMAND_S_MAX = 120


def write_config(folder: Path, base_url: str, **fhir: str) -> Path:
    """Write a configuration with its own audit log in `folder`; `fhir` are further settings of the section."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "gateway.toml"
    lines = [
        "[server]",
        "port = 0",
        "deadline_rest_s = 60.0",
        "[fhir]",
        f'base_url = "{base_url}"',
        *(f'{name} = "{text}"' for name, text in fhir.items()),
        "[audit]",
        f'database = "{folder / "audit.db"}"',
        f'key_file = "{folder / "kek.json"}"',
        "[logging]",
        'level = "warning"',
    ]
    config.write_text("\n".join(lines) + "\n")
    return config


def environment() -> dict[str, str]:
    """Return the environment without settings of the operator."""
    return {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")} | {"PYTHONPATH": str(ROOT)}


class GatewayProcess:
    """A running gateway."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    def post(self, path: str, body: object) -> tuple[int, dict]:
        """Post JSON and return status and decoded answer."""
        request = urllib.request.Request(
            f"{self.url}/{path}", data=json.dumps(body).encode(), method="POST", headers={"Content-Type": "application/fhir+json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@contextlib.contextmanager
def serving(config: Path, more: Mapping[str, str] = MappingProxyType({}), ready_path: str = "health/ready") -> Iterator[GatewayProcess]:
    """Start `gateway serve`, with `more` in its environment, wait until it is ready, stop it with SIGTERM."""
    with (config.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--config", str(config)],
            cwd=config.parent,
            env=environment() | more,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        url = process.stdout.readline().decode().split()[-1]
        _wait_until_ready(f"{url}/{ready_path}", process)
        yield GatewayProcess(url, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_S_MAX)
    assert process.returncode in (0, -signal.SIGTERM), "the gateway did not stop gracefully"


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + READY_S_MAX
    while time.monotonic() < ends_at and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError("the gateway was not ready in time")


def command(config: Path, *arguments: str) -> dict:
    """Run `gateway ... --json --config` and return its decoded output."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--json", "--config", str(config)],
        cwd=config.parent,
        env=environment(),
        capture_output=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)
