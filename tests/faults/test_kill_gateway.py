"""The gateway itself is killed at random moments under load: inline records and records pulled from a FHIR server, by turns."""

import asyncio
import datetime as dt
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_harness import IN_FLIGHT_MIN, Call, Target, kill_count, python_command, run_campaign

from gateway.audit import init_keys
from gateway.sandbox import SandboxServer, fixtures_dir, load_fixtures

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CONTROL_KILLS_MAX = 12
PATIENT = "demo-complete"
FHIR_JSON = {"Content-Type": "application/fhir+json"}


@pytest.fixture(scope="module")
def fhir_server() -> Iterator[str]:
    """Serve the synthetic patients."""
    with SandboxServer() as sandbox:
        yield sandbox.base_url


def inline_body() -> bytes:
    """Return one synthetic patient as an inline record."""
    resources = [resource for resource in load_fixtures(fixtures_dir(), dt.datetime.now(dt.UTC)) if _is_about(resource)]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource} for resource in resources]}
    parameters = [{"name": "record", "resource": bundle}, {"name": "recordComplete", "valueBoolean": True}]
    return json.dumps({"resourceType": "Parameters", "parameter": parameters}).encode()


def _is_about(resource: dict[str, object]) -> bool:
    subject = resource.get("subject")
    return resource.get("id") == PATIENT or (isinstance(subject, dict) and subject.get("reference") == f"Patient/{PATIENT}")


def gateway_target(folder: Path, fhir_base: str, *extra: str) -> Target:
    """Return the gateway with its log in `folder`."""
    (folder / "keys").mkdir()
    init_keys(folder / "keys" / "kek.json")
    inline = Call(path="/fhir/$assess-risk", headers=FHIR_JSON, body=inline_body())
    pulled = Call(path=f"/fhir/Patient/{PATIENT}/$assess-risk", headers=FHIR_JSON, body=b'{"resourceType":"Parameters"}')
    arguments = (str(HERE / "kill_gateway.py"), "--folder", str(folder), "--fhir", fhir_base, *extra)
    return Target(
        name="gateway",
        command=lambda port: python_command(*arguments, "--port", str(port)),
        database=folder / "audit.db",
        call=lambda number: inline if number % 2 else pulled,
        environment={"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
    )


@pytest.fixture
def seed() -> int:
    """Return a seed: from GATEWAY_SEED to repeat a run, else a new one; a failing test shows it."""
    value = int(os.environ.get("GATEWAY_SEED", random.randrange(2**32)))
    sys.stdout.write(f"seed {value}\n")
    return value


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processes", [1, 3])
def test_the_gateway_loses_no_answer_when_it_is_killed(
    tmp_path: Path, fhir_server: str, seed: int, capsys: pytest.CaptureFixture[str], processes: int
) -> None:
    """Every assessment that a client holds has its RESULT record after the kill, the log verifies, and open ends are marked.

    With several server processes the one that owns the log is killed; the others end with it.
    """
    target = gateway_target(tmp_path, fhir_server, "--processes", str(processes))
    report = asyncio.run(run_campaign(target, kill_count(), seed))
    with capsys.disabled():
        sys.stdout.write(f"\ngateway, processes {processes}: {report.summary()}\n")
    assert report.lost == []
    assert report.broken == []
    assert report.kills == kill_count()
    assert min(report.in_flight_at_kill) >= IN_FLIGHT_MIN
    assert report.acknowledged >= 50 * report.kills


@pytest.mark.timeout(600)
def test_the_harness_notices_a_gateway_that_answers_before_the_commit(tmp_path: Path, fhir_server: str, seed: int) -> None:
    """A gateway whose log acknowledges before the commit loses answers under the same harness."""
    report = asyncio.run(run_campaign(gateway_target(tmp_path, fhir_server, "--early-ack"), CONTROL_KILLS_MAX, seed, stop_at_loss=True))
    assert report.lost, f"not noticed within {report.kills} kills"
