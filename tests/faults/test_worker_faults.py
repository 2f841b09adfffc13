"""The worker of a serving gateway is killed, hangs, runs out of memory or lies, under load: no wrong number, another within two seconds."""

import asyncio
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import aiohttp
import gateway_process
import pytest
from brought_release import NAME, TOLERANCE, probability, write_config, write_release

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KINDS = ("kill", "hang", "memory", "nan", "infinity", "range", "shape")
CLIENTS = 8
START_S_MAX, REPLACED_S_MAX = 30.0, 2.0
ANSWERED_BETWEEN_MIN, LOAD_S_MIN = 50, 1.0


def faults_of_each_kind() -> int:
    """Return how many are asked for (GATEWAY_WORKER_FAULTS)."""
    return int(os.environ.get("GATEWAY_WORKER_FAULTS", "1"))


class Load:
    """Eight clients that ask about a patient of their own invention each time, and know what the answer must be."""

    def __init__(self, base: str, seed: int) -> None:
        self.base = base
        self.right = self.refused = 0
        self.wrong: list[str] = []
        self._draw = random.Random(seed)
        self._stop = False

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Ask until told to stop."""
        await asyncio.gather(*[self._client(session) for _ in range(CLIENTS)])

    def stop(self) -> None:
        """Let every client finish what it asked."""
        self._stop = True

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._stop:
            row = (self._draw.uniform(18, 90), self._draw.uniform(0.4, 9), self._draw.uniform(40, 150))
            body = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP64", "data": row}]}
            async with session.post(f"{self.base}/v2/models/{NAME}/infer", json=body) as answer:
                told = await answer.json()
                self._judge(answer.status, told, probability(*row))
            if answer.status != 200:
                await asyncio.sleep(0.005)

    def _judge(self, status: int, told: dict, expected: float) -> None:
        if status == 503:
            self.refused += 1
        elif status == 200 and abs(told["outputs"][0]["data"][0] - expected) <= TOLERANCE:
            self.right += 1
        else:
            self.wrong.append(f"{status} {told} instead of {expected}")


def worker_of(server: int) -> int | None:
    """Return the process id of the worker that serves, which is the older of two; None while there is none."""
    command = ["pgrep", "-o", "-P", str(server), "-f", "gateway.inference.worker"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(found.stdout.split()[0]) if found.stdout else None


async def misbehave(kind: str, worker: int, control: Path) -> None:
    """Let a worker have a fault."""
    if kind == "kill":
        os.kill(worker, signal.SIGKILL)
    elif kind == "hang":
        os.kill(worker, signal.SIGSTOP)
    else:
        control.write_text(f"{kind} {worker}")


async def until_replaced(server: int, worker: int, load: Load) -> float:
    """Wait until another worker has answered rightly; return how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < START_S_MAX:
        other = worker_of(server)
        if other not in (None, worker):
            break
        await asyncio.sleep(0.01)
    enough = load.right + CLIENTS + 1  # so many that the last one cannot have been in work before the fault
    while load.right < enough and time.monotonic() - began < START_S_MAX:
        await asyncio.sleep(0.005)
    return time.monotonic() - began


@pytest.mark.timeout(3600)
@pytest.mark.asyncio
async def test_no_fault_of_a_worker_gives_a_wrong_number(tmp_path, figure):
    """The server's process stays; every answer is right or a refusal; another worker answers within two seconds."""
    slowest = dict.fromkeys(KINDS, 0.0)
    write_release(tmp_path / "models")
    config = write_config(tmp_path, worker_memory_bytes_max=str(1024**3))
    injected = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE / "worker_faults")]), "WORKER_FAULT_FILE": str(tmp_path / "fault")}
    with gateway_process.serving(config, injected) as running:
        process, base = running.process, running.url
        async with aiohttp.ClientSession() as session:
            load = Load(base, seed=4)
            asking = asyncio.create_task(load.run(session))
            for _ in range(faults_of_each_kind()):
                for kind in KINDS:
                    answered = load.right
                    await asyncio.sleep(LOAD_S_MIN)
                    ends = time.monotonic() + START_S_MAX
                    while load.right < answered + ANSWERED_BETWEEN_MIN:
                        assert load.wrong == []
                        assert time.monotonic() < ends, "no right answer any more"
                        await asyncio.sleep(0.01)
                    worker = worker_of(process.pid)
                    await misbehave(kind, worker, tmp_path / "fault")
                    slowest[kind] = max(slowest[kind], await until_replaced(process.pid, worker, load))
                    (tmp_path / "fault").unlink(missing_ok=True)
            load.stop()
            await asking
        assert process.poll() is None
    times = ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in slowest.items())
    figure(
        f"workers: {faults_of_each_kind()} faults of each of {len(KINDS)} kinds under load, {load.right} right answers, "
        f"{load.refused} refusals, {len(load.wrong)} wrong; slowest replacement in seconds: {times}"
    )
    assert load.wrong == []
    assert max(slowest.values()) < REPLACED_S_MAX
