"""The command line in this process, with its own audit log; a FHIR server with the project's synthetic patients."""

import json
import logging
import sys
import threading
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.clock import FrozenClock, SystemClock
from gateway.sandbox import SandboxServer
from gateway.sandbox.fixture import fixtures_dir, load_fixtures

NOW = SystemClock().now()  # one instant for the server's records and the files: their dates are relative


@pytest.fixture(scope="session")
def sandbox():
    """Give the base URL of the FHIR server."""
    with SandboxServer(clock=FrozenClock(NOW)) as server:
        yield server.base_url


@pytest.fixture
def bundle_file(tmp_path):
    """Give a function that writes a synthetic patient's resources, as the FHIR server holds them, into a Bundle file."""

    def write(patient: str) -> Path:
        theirs = [
            one
            for one in load_fixtures(fixtures_dir(), NOW)
            if one["id"] == patient or any(one.get(name, {}).get("reference") == f"Patient/{patient}" for name in ("subject", "patient"))
        ]
        entries = [{"resource": {**one, "meta": {"versionId": "1", **one.get("meta", {})}}} for one in theirs]
        path = tmp_path / f"{patient}.json"
        path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def config(tmp_path):
    """Give a function that writes a configuration file whose log and keys lie in the test's folder; more TOML may follow."""

    def write(base_url: str = "", more: str = "") -> str:
        path = tmp_path / "gateway.toml"
        lines = (
            f'[audit]\ndatabase = "{tmp_path}/log/audit.db"\nkey_file = "{tmp_path}/keys/kek.json"\n'
            f'[fhir]\nbase_url = "{base_url}"\n[logging]\nlevel = "error"\n{more}\n'
        )
        path.write_text(lines, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Give a function that runs one command in an empty folder and returns its result; what it configured is put back."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.level, list(root.handlers), sys.excepthook, threading.excepthook)

    def invoke(*arguments: str, env: dict | None = None):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)

    yield invoke
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    sys.excepthook, threading.excepthook = before[2:]
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
