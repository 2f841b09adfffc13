"""The ladder of devices: which one answers, why not the one above it, and when it is used again.

The GPU is simulated (its worker computes on the CPU, with a fault if one is asked for), except where it must not be there.
"""

import asyncio
import os
from pathlib import Path

import pytest
from brought_release import NAME, PUBLIC_KEY, probability, write_release

from gateway.inference.result import Device, InferenceFailed
from gateway.inference.runtime import Runtime, RuntimePlan, open_workers
from gateway.registry import admit_releases, load_code_sets

SIMULATION = Path(__file__).parent / "simulated_gpu"
ROW = {"age_years": 60.0, "creatinine_mg_dl": 1.2, "heart_rate_per_min": 90.0}
NUMBER = pytest.approx(probability(60.0, 1.2, 90.0), abs=1e-6)
SECONDS_MAX = 10.0

pytestmark = pytest.mark.asyncio


@pytest.fixture
def device(tmp_path, monkeypatch):
    """Return a function that says how the simulated GPU is from now on."""
    monkeypatch.setenv("PYTHONPATH", str(SIMULATION))
    monkeypatch.setenv("SIMULATED_GPU", str(tmp_path / "gpu"))

    def become(state):
        (tmp_path / "gpu").write_text(state)

    return become


@pytest.fixture
def runtime(tmp_path):
    """Return a function that loads the brought release for some devices, and starts."""
    write_release(tmp_path / "models")
    opened = []

    async def start(plan):
        context = open_workers(plan)
        opened.append(context)
        made = Runtime(plan, context.__enter__())
        admit_releases(tmp_path / "models", made, load_code_sets(tmp_path / "models", {PUBLIC_KEY}), {PUBLIC_KEY})
        await made.start()
        return made

    yield start
    for context in opened:
        context.__exit__(None, None, None)


async def ask(runtime):
    """Return what the runtime gives for the row."""
    return await runtime.run(NAME, ROW, None, 2.0)


async def until(found, runtime):
    """Ask until the answer is what it should become."""
    for _ in range(int(SECONDS_MAX / 0.05)):
        result = await ask(runtime)
        if found(result):
            return result
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {result}")


async def test_a_gpu_that_agrees_answers(runtime, device):
    """It passed the vectors' rows within the manifest's tolerance; its provider is named."""
    device("good")
    running = await runtime(RuntimePlan(device="gpu"))
    result = await ask(running)
    assert (result.device, result.values[1], result.stepped_down) == (Device.GPU, NUMBER, "")
    assert result.runtime.endswith(" CUDAExecutionProvider")
    await running.aclose()


async def test_without_a_gpu_the_cpu_answers_and_says_why(runtime):
    """The real runtime of this environment has no CUDA: nothing falls back in silence."""
    running = await runtime(RuntimePlan(device="gpu"))
    result = await ask(running)
    assert (result.device, result.values[1]) == (Device.CPU, NUMBER)
    assert result.stepped_down.startswith("GPU: the device refused the graph: ")
    assert running.healthy() == (True, "")
    await running.aclose()


async def test_a_gpu_with_wrong_numbers_never_answers(runtime, device):
    """Its rung stays closed from the start, and opens once a self-test passes."""
    device("wrong")
    running = await runtime(RuntimePlan(device="gpu"))
    result = await ask(running)
    assert (result.device, result.values[1]) == (Device.CPU, NUMBER)
    assert "other numbers than the CPU" in result.stepped_down
    device("good")
    assert (await until(lambda result: result.device is Device.GPU, running)).values[1] == NUMBER
    await running.aclose()


async def test_a_gpu_that_begins_to_fail_is_left_until_it_passes_a_self_test(runtime, device):
    """After three failures running nothing is asked of it any more; the CPU answers every request meanwhile."""
    device("good")
    running = await runtime(RuntimePlan(device="gpu"))
    device("failing")
    answers = [await ask(running) for _ in range(5)]
    assert [answer.device for answer in answers] == [Device.CPU] * 5
    assert all(answer.values[1] == NUMBER and answer.stepped_down.startswith("GPU: the device failed") for answer in answers[:3])
    device("good")
    assert (await until(lambda result: result.device is Device.GPU, running)).values[1] == NUMBER
    await running.aclose()


async def test_gpu_or_nothing_means_nothing(runtime, device):
    """No CPU answers for a GPU that is demanded, and the gateway is not ready."""
    device("wrong")
    running = await runtime(RuntimePlan(device="gpu-only"))
    with pytest.raises(InferenceFailed, match="GPU: "):
        await ask(running)
    good, reason = running.healthy()
    assert not good
    assert reason
    device("good")
    for _ in range(100):
        if running.healthy()[0]:
            break
        await asyncio.sleep(0.05)
    assert (await ask(running)).device is Device.GPU
    await running.aclose()


async def test_many_callers_each_get_their_own_number(runtime):
    """32 callers at once: each gets its own number, from outside this process."""
    running = await runtime(RuntimePlan())
    rows = [{**ROW, "age_years": 30.0 + age} for age in range(32)]
    results = await asyncio.gather(*[running.run(NAME, row, None, 5.0) for row in rows])
    expected = [probability(row["age_years"], 1.2, 90.0) for row in rows]
    assert [result.values[1] for result in results] == pytest.approx(expected, abs=1e-6)
    assert os.getpid() not in {link._open._pid for link in running._links}
    await running.aclose()


async def test_a_gpu_environment_that_is_not_there_does_not_keep_the_cpu_waiting(runtime, tmp_path, monkeypatch):
    """A misspelt interpreter: the gateway starts all the same, and says which rung is closed."""
    monkeypatch.setattr("gateway.inference.runtime.START_S_MAX", 2.0)
    running = await runtime(RuntimePlan(device="gpu", gpu_python=str(tmp_path / "no-python")))
    result = await ask(running)
    assert (result.device, result.values[1]) == (Device.CPU, NUMBER)
    assert result.stepped_down.startswith("GPU: ")
    await running.aclose()
