"""The real CUDA path, where a GPU is at hand: GATEWAY_GPU_PYTHON names the Python of an environment with the GPU build of the runtime."""

import asyncio
import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest
from brought_release import NAME, PUBLIC_KEY, graph_bytes, probability, write_release

from gateway.inference.result import Device
from gateway.inference.runtime import Runtime, RuntimePlan, open_workers
from gateway.registry import admit_releases, load_code_sets

ROW = {"age_years": 60.0, "creatinine_mg_dl": 1.2, "heart_rate_per_min": 90.0}
RUNS, CALLERS = 200, 32
WITHOUT = "the GPU path is not run: GATEWAY_GPU_PYTHON names no environment in which ONNX Runtime finds CUDA"

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]


@pytest.fixture
def gpu_python() -> str:
    """Return the interpreter, where it finds a device that works."""
    python = os.environ.get("GATEWAY_GPU_PYTHON", "")
    looks = "import onnxruntime as o, sys; sys.exit('CUDAExecutionProvider' not in o.get_available_providers())"
    if not python or subprocess.run([python, "-c", looks], capture_output=True, check=False).returncode:
        pytest.skip(WITHOUT)
    return python


@pytest.mark.parametrize("products", [0, 16])
async def test_the_gpu_answers_after_it_agreed_with_the_cpu(gpu_python, tmp_path, figure, products):
    """A small brought graph and one of 16 million weights: the GPU's rung is open, its number is right, and what it costs is told."""
    write_release(tmp_path / "models", graph_bytes(slow=products))
    plan = RuntimePlan(device="gpu", gpu_python=gpu_python, run_s_max=10.0)
    with open_workers(plan) as workers:
        runtime = Runtime(plan, Path(workers))
        admit_releases(tmp_path / "models", runtime, load_code_sets(tmp_path / "models", {PUBLIC_KEY}), {PUBLIC_KEY})
        await runtime.start()
        took = []
        for _ in range(RUNS):
            began = time.perf_counter()
            result = await runtime.run(NAME, ROW, None, 10.0)
            took.append(1000 * (time.perf_counter() - began))
            assert (result.device, result.stepped_down) == (Device.GPU, "")
            assert result.values[1] == pytest.approx(probability(60.0, 1.2, 90.0), abs=1e-6)
        began = time.perf_counter()
        await asyncio.gather(*[runtime.run(NAME, ROW, None, 10.0) for _ in range(RUNS * CALLERS)])
        rate = RUNS * CALLERS / (time.perf_counter() - began)
        await runtime.aclose()
    figure(f"GPU, {products} products: p50 {statistics.median(took):.2f} ms for one caller, {rate:.0f} rows/s together")
