"""The server is killed at random moments under load; nothing that was acknowledged may be lost."""

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest
from kill_harness import IN_FLIGHT_MIN, Call, Target, kill_count, python_command, run_campaign

from gateway.audit import init_keys

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CONTROL_KILLS_MAX = 12


def small_target(folder: Path, *extra: str) -> Target:
    """Return the small server of this folder."""
    keys, database = folder / "keys.json", folder / "audit.db"
    init_keys(keys)
    arguments = (str(HERE / "kill_target.py"), "--database", str(database), "--keys", str(keys), *extra)
    return Target(
        name="small server",
        command=lambda port: python_command(*arguments, "--port", str(port)),
        database=database,
        call=lambda _number: Call(),
        ready_path="/ready",
        environment={"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def seed() -> int:
    """Return a seed: from GATEWAY_SEED to repeat a run, else a new one; a failing test shows it."""
    value = int(os.environ.get("GATEWAY_SEED", random.randrange(2**32)))
    sys.stdout.write(f"seed {value}\n")
    return value


@pytest.mark.timeout(1800)
def test_no_acknowledged_answer_is_lost_when_the_server_is_killed(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Every answer that a client holds has its RESULT record after the kill, the log verifies, and open ends are marked."""
    report = asyncio.run(run_campaign(small_target(tmp_path), kill_count(), seed))
    with capsys.disabled():
        sys.stdout.write(f"\n{report.summary()}\n")
    assert report.lost == []
    assert report.broken == []
    assert report.kills == kill_count()
    assert min(report.in_flight_at_kill) >= IN_FLIGHT_MIN
    assert report.acknowledged >= 50 * report.kills


@pytest.mark.timeout(300)
def test_the_harness_notices_an_answer_before_the_commit(tmp_path: Path, seed: int) -> None:
    """The same harness finds lost answers in a build that acknowledges before the commit; otherwise it proves nothing."""
    report = asyncio.run(run_campaign(small_target(tmp_path, "--early-ack"), CONTROL_KILLS_MAX, seed, stop_at_loss=True))
    assert report.lost, f"not noticed within {report.kills} kills"
