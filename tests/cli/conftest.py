"""The command line in this process, with its own audit log; a FHIR server with the project's synthetic patients."""

import logging
import sys
import threading

import pytest
import structlog
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.sandbox import SandboxServer


@pytest.fixture(scope="session")
def sandbox():
    """Give the base URL of the FHIR server."""
    with SandboxServer() as server:
        yield server.base_url


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
