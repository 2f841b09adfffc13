"""Workers: models that run outside the server process, and what becomes of requests when a worker is ended, hangs or lies."""

import asyncio
import math
import os
import signal
import time

import pytest
from brought_release import PUBLIC_KEY, graph_bytes, write_release
from tiny_graphs import HONEST, Release

from gateway.inference.result import Device, InferenceFailed, RuntimeRefused
from gateway.inference.runtime import Runtime, RuntimePlan, open_workers
from gateway.inference.strikes import Strikes
from gateway.inference.tested import GoldenRow, chosen_rows, rows_at_once
from gateway.registry import admit_releases, load_code_sets

pytestmark = pytest.mark.asyncio

PLAN = RuntimePlan(placement="worker")
INPUTS = {"age_years": 40.0, "sex": 1.0, "creatinine_mg_dl": 1.5}


def some_rows(run):
    """Run a few rows, as the vectors of a release would."""
    for age in (20.0, 40.0, math.nan):
        run({**INPUTS, "age_years": age}, None)


@pytest.fixture
def loaded(sum_manifest):
    """Return a runtime whose one model runs in a worker."""
    with open_workers(PLAN) as folder:
        runtime = Runtime(PLAN, folder)
        runtime.load(Release(sum_manifest, HONEST), some_rows)
        yield runtime
        runtime.close_loader()


async def answer(runtime, tensors=INPUTS, remaining_s=2.0):
    """Return what the runtime gives for a row."""
    return await runtime.run("sum", tensors, None, remaining_s)


async def test_a_row_is_run_outside_the_server_process(loaded):
    """The same numbers, device and runtime as in the process; an absent input poisons."""
    await loaded.start()
    found = await answer(loaded)
    assert (found.values, found.applicable, found.device, found.stepped_down) == ((42.5,), (True,), Device.CPU, "")
    withheld = await answer(loaded, {**INPUTS, "sex": math.nan})
    assert withheld.applicable == (False,)
    await loaded.aclose()


async def test_a_worker_that_is_killed_is_replaced_while_requests_step_down(loaded):
    """Within two seconds another worker, tested like the first, answers; in between there is no number."""
    await loaded.start()
    (link,) = loaded._links
    pid = link._open._pid
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    failed = 0
    while True:
        try:
            found = await answer(loaded)
            break
        except InferenceFailed:
            failed += 1
            await asyncio.sleep(0.01)
    assert failed
    assert time.monotonic() - killed < 2.0
    assert found.values == (42.5,)
    assert link._open._pid != pid
    await loaded.aclose()


async def test_a_worker_that_hangs_is_ended_and_replaced(loaded):
    """A stopped process says nothing: whoever waits for it gives up in time, and the next one answers."""
    await loaded.start()
    (link,) = loaded._links
    pid = link._open._pid
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    with pytest.raises(InferenceFailed, match=r"in time|hung"):
        await answer(loaded, remaining_s=0.3)
    while link.closed_because(next(iter(link._graphs))) or link._open._pid == pid:
        await asyncio.sleep(0.01)
    assert time.monotonic() - stopped < 2.5
    assert (await answer(loaded)).values == (42.5,)
    await loaded.aclose()


async def test_a_worker_with_a_slow_model_survives_its_self_tests(sum_manifest, tmp_path):
    """Rows of some milliseconds: the test is short and goes in pieces, so that nobody takes the worker for hung."""
    write_release(tmp_path / "models", graph_bytes(slow=16))
    plan = RuntimePlan(run_s_max=0.3)
    with open_workers(plan) as folder:
        runtime = Runtime(plan, folder)
        admit_releases(tmp_path / "models", runtime, load_code_sets(tmp_path / "models", {PUBLIC_KEY}), {PUBLIC_KEY})
        await runtime.start()
        (link,) = runtime._links
        pid = link._open._pid
        for _ in range(3):
            await link._probe(link._open)
        assert (runtime.healthy(), link._open._pid) == ((True, ""), pid)
        await runtime.aclose()


async def test_a_model_slower_than_a_run_may_be_is_refused(tmp_path):
    """It would be taken for hung each time."""
    write_release(tmp_path / "models", graph_bytes(slow=16))
    plan = RuntimePlan(run_s_max=0.0005)
    with open_workers(plan) as folder:
        runtime = Runtime(plan, folder)
        with pytest.raises(RuntimeRefused, match=r"longer than models\.run_s_max"):
            admit_releases(tmp_path / "models", runtime, load_code_sets(tmp_path / "models", {PUBLIC_KEY}), {PUBLIC_KEY})
        runtime.close_loader()


async def test_a_graph_in_which_one_patient_changes_another_is_refused(tmp_path):
    """Alone every row is right; the vectors run together as well."""
    write_release(tmp_path / "models", graph_bytes(mixing=True))
    with open_workers(RuntimePlan()) as folder:
        runtime = Runtime(RuntimePlan(), folder)
        with pytest.raises(RuntimeRefused, match="rows that run together"):
            admit_releases(tmp_path / "models", runtime, load_code_sets(tmp_path / "models", {PUBLIC_KEY}), {PUBLIC_KEY})


async def test_a_row_with_an_impossible_result_closes_nothing_for_others(loaded):
    """The model errs on it, the self-test clears the worker, and the same worker goes on."""
    await loaded.start()
    (link,) = loaded._links
    pid = link._open._pid
    with pytest.raises(InferenceFailed, match="valid range"):
        await answer(loaded, {**INPUTS, "creatinine_mg_dl": 900.0})
    for _ in range(200):
        if not any(map(link.closed_because, link._graphs)):
            break
        await asyncio.sleep(0.01)
    assert (await answer(loaded)).values == (42.5,)
    assert link._open._pid == pid
    await loaded.aclose()


def _rows(count):
    return [GoldenRow([float(place)], None, ([0.0], [True])) for place in range(count)]


@pytest.mark.parametrize(
    ("rows", "seconds", "chosen", "at_once"),
    [(400, 0.0001, 400, 64), (5000, 0.0001, 1000, 64), (400, 0.004, 125, 31), (400, 0.2, 2, 1), (10, 0.0001, 10, 64), (1, 0.0001, 1, 1)],
)
async def test_a_self_test_takes_about_half_a_second_and_runs_are_short(rows, seconds, chosen, at_once):
    """As many rows as fit, spread over all; as many at once as are served, in runs of an eighth of a second."""
    golden = chosen_rows(_rows(rows), seconds)
    assert len(golden) == chosen
    assert golden[0].values == [0.0]
    assert len({row.values[0] for row in golden}) == chosen
    assert rows_at_once(golden, seconds, 64, 0.5) == at_once


async def test_the_third_loss_within_a_minute_leaves_out_for_half_of_one():
    """Of one thing; what goes well in between, or is long ago, does not count."""
    strikes = Strikes()
    for now in (0.0, 1.0, 62.0):
        strikes.strike("a", now)
    assert not strikes.leave_out_any(62.0)
    strikes.clear("a")
    strikes.strike("a", 63.0)
    strikes.strike("b", 63.0)
    strikes.strike("a", 64.0)
    assert not strikes.leaves_out("a", 64.0)
    strikes.strike("a", 65.0)
    assert (strikes.leaves_out("a", 94.9), strikes.leaves_out("b", 94.9), strikes.leave_out_any(95.1)) == (True, False, False)
