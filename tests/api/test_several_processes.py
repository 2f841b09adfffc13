"""`gateway serve` with two server processes and one audit log, over real HTTP."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from gateway.audit import LogReader, verify_log

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 60
BODY = {"resourceType": "Parameters", "parameter": [{"name": "record", "resource": {"resourceType": "Bundle", "type": "collection"}}]}
FHIR_JSON = {"content-type": "application/fhir+json"}


@contextlib.contextmanager
def served(folder, **environment):
    """Run the command with two server processes; give the supervisor and the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"GATEWAY__SERVER__PORT": str(port), "GATEWAY__SERVER__PROCESSES": "2", "GATEWAY__LOGGING__FORMAT": "json", **environment}
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **given},
            stdout=log,
            stderr=log,
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def until(condition, what):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if condition():
                return
        time.sleep(0.05)
    pytest.fail(f"not within {WAIT_S} s: {what}")


def ready(url):
    return httpx.get(f"{url}/health/ready").status_code == 200


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return {int(line) for line in found.stdout.split()}


def alive(pid):
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and ") Z" not in state.read_text()


def ask(url):
    """Ask about a record without a Patient, which is refused and recorded, on a connection of its own."""
    return httpx.post(f"{url}/fhir/$assess-risk", content=json.dumps(BODY), headers=FHIR_JSON, timeout=20).status_code


def test_one_log_one_sum_of_metrics_and_a_graceful_end(tmp_path):
    """Whichever process answers, the records stand in one valid log and the metrics tell the sum; SIGTERM ends all with status 0."""
    with served(tmp_path) as (process, url):
        until(lambda: ready(url), "ready")
        processes = children(process.pid)
        assert len(processes) == 2
        assert {ask(url) for _ in range(40)} == {400}
        told = httpx.get(f"{url}/metrics").text
        assert re.search(r'gateway_requests_total\{operation="assess-risk",status="400"\} 40\.0', told)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not any(map(alive, processes))
    database = tmp_path / "var" / "audit.db"
    assert verify_log(database).valid
    with LogReader(database) as reader:
        assert [record.fields["type"] for record in reader.records()].count("REFUSED") == 40


def test_a_server_process_that_dies_is_replaced_while_the_others_answer(tmp_path):
    """The supervisor stays, the log stays, no request is answered wrongly, and soon there are two again."""
    with served(tmp_path) as (process, url):
        until(lambda: ready(url) and len(children(process.pid)) == 2, "ready")
        for _ in range(3):
            victim = min(children(process.pid))
            os.kill(victim, signal.SIGKILL)
            answers = set()
            for _ in range(20):
                with contextlib.suppress(httpx.TransportError):  # the connection that the dead process held
                    answers.add(ask(url))
            assert answers <= {400}
            assert answers
            until(lambda gone=victim: len(children(process.pid) - {gone}) == 2, "replaced")
        assert process.poll() is None
        until(lambda: ready(url), "ready again")
    assert "a server process ended and is replaced" in (tmp_path / "serve.log").read_text()
    assert verify_log(tmp_path / "var" / "audit.db").valid


def test_the_server_processes_end_with_their_supervisor(tmp_path):
    """Without the owner of the log nothing may be answered: killed, it takes the others along."""
    with served(tmp_path) as (process, url):
        until(lambda: ready(url), "ready")
        processes = children(process.pid)
        assert len(processes) == 2
        assert all(map(alive, processes))
        process.kill()
        process.wait()
        until(lambda: not any(map(alive, processes)), "gone")


def test_a_start_that_fails_is_told_once_with_status_2(tmp_path):
    """A model that is not there: no loop of restarts, one reason, status 2."""
    with served(tmp_path, GATEWAY__MODELS__ENABLED='["none-such"]') as (process, _):
        assert process.wait(WAIT_S) == 2
    told = (tmp_path / "serve.log").read_text()
    assert 1 <= told.count("no such release") <= 2  # once by each process, and never again
    assert "is replaced" not in told
    assert "unforeseen" not in told
