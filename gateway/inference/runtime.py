"""Where every release runs: tiny certified graphs in this process, others with the workers (GPU before CPU), remote models on their server.

with open_workers(plan) as folder:                       # or the folder of a supervisor that keeps them
    runtime = Runtime(plan, folder)
    runtime.load(release, self_test)                     # raises when a vector fails; nothing is served before
    await runtime.start()
    result = runtime.run("name", tensors, None, 0.5)     # EngineResult, or an awaitable of it
    await runtime.aclose()
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from gateway.features.manifest import ModelManifest
from gateway.inference.engine import InProcessEngine, LoadedGraph, RunRow
from gateway.inference.remote import RemoteLink, RemoteModel, remote_runner
from gateway.inference.result import Device, EngineResult, InferenceFailed, RuntimeRefused, Signature, checked_inputs, signature_of
from gateway.inference.tested import GoldenRow, TestedGraph, chosen_rows, disagreement, graph_key, rows_at_once
from gateway.inference.worker_connection import WorkerConnection, WorkerLost, WorkerRunner
from gateway.inference.worker_keeper import WorkerKeeper, socket_path, worker_command
from gateway.inference.worker_link import WorkerLink

START_S_MAX = 15.0  # to know which devices answer
CERTIFIED_RUN_S_MAX = 0.0005  # a hop to another process costs ten times the run of a smaller graph (design 3.8)


class RuntimePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of running graphs; see the settings of the section `models`."""

    device: Literal["cpu", "gpu", "gpu-only"] = "cpu"
    placement: Literal["auto", "worker"] = "auto"
    gpu_python: str = ""
    run_s_max: float = 0.5
    batch_rows_max: int = 64
    worker_memory_bytes_max: int = 2 * 1024**3
    remote: Mapping[str, RemoteModel] = {}

    @property
    def devices(self) -> tuple[Device, ...]:
        """Return the devices that may answer, the highest first."""
        return {"cpu": (Device.CPU,), "gpu": (Device.GPU, Device.CPU), "gpu-only": (Device.GPU,)}[self.device]


class PlaceableRelease(Protocol):
    """What is needed of a release to place it."""

    @property
    def manifest(self) -> ModelManifest:
        """Return the model as data."""
        ...

    @property
    def graph(self) -> bytes:
        """Return the graph as it was hashed."""
        ...

    @property
    def certified(self) -> bool:
        """Tell whether it may run in the server process at all."""
        ...


@contextlib.contextmanager
def open_workers(plan: RuntimePlan) -> Iterator[Path]:
    """Keep one worker per device, each started when first asked for; give the folder in which they are reached."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-workers-"))
    try:
        with contextlib.ExitStack() as stack:
            for device in plan.devices:
                stack.enter_context(WorkerKeeper(folder, command_of(plan, device), device))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def command_of(plan: RuntimePlan, device: Device) -> tuple[str, ...]:
    """Return how the worker of a device is started."""
    python = plan.gpu_python if device is Device.GPU else ""
    return worker_command(device, python=python, memory_bytes_max=plan.worker_memory_bytes_max, rows_max=plan.batch_rows_max)


class Runtime:
    """Runs every graph that was loaded into it. `load` before `start`; `run` on the loop of `start`."""

    def __init__(self, plan: RuntimePlan, workers: Path) -> None:
        """`workers`: the folder of `open_workers`."""
        self._plan = plan
        self._workers = workers
        self._engine = InProcessEngine()
        self._with_workers: dict[str, TestedGraph] = {}
        self._remote: dict[str, RemoteLink] = {}
        self._links: tuple[WorkerLink, ...] = ()
        self._starting: list[asyncio.Task[None]] = []
        self._loading: WorkerConnection | None = None
        self._nursery = contextlib.ExitStack()

    def load(self, release: PlaceableRelease, self_test: Callable[[RunRow], None]) -> None:
        """Load a release where it belongs, and run its vectors there.

        Raises:
            RuntimeRefused: the runtime refuses the graph, or its signature is not the manifest's.
            gateway.errors.ModelRefused: from `self_test`.
        """
        name, signature = release.manifest.name, signature_of(release.manifest)
        if release.manifest.backend == "remote":
            self._remote[name] = RemoteLink(self._target(name), signature, self_test)
            return
        if self._plan.placement == "auto" and release.certified:
            graph = LoadedGraph(signature, release.graph)
            if graph.seconds_of_a_run() <= CERTIFIED_RUN_S_MAX:
                self._engine.serve(name, graph, self_test)
                return
        self._with_workers[name] = self._load_with_worker(release, signature, self_test)

    def runner(self, name: str) -> RunRow:
        """Return what runs one row of a loaded model and waits for it: for vectors, before or without `start`."""
        remote, tested = self._remote.get(name), self._with_workers.get(name)
        if remote is not None:
            return remote_runner(self._target(name), remote.signature)
        if tested is None:
            return lambda tensors, variant: self._engine.run(name, tensors, variant)
        return WorkerRunner(self._loader(), tested.key, tested.signature, tested.graph, tested.rows_max).run

    def place_of(self, name: str) -> str:
        """Say in words where a loaded model runs."""
        return "on another server" if name in self._remote else "in a worker" if name in self._with_workers else "in the server process"

    async def start(self, wait_s: float = START_S_MAX) -> None:
        """Open the links to workers and other servers; return when it is known which of them answer, or after `wait_s`."""
        if self._with_workers:
            graphs = tuple(self._with_workers.values())
            self._links = tuple(
                WorkerLink(socket_path(self._workers, device), device, graphs, run_s_max=self._plan.run_s_max)
                for device in self._plan.devices
            )
        starts = [*[link.start() for link in self._links], *[link.start() for link in self._remote.values()]]
        self._starting = [asyncio.create_task(start) for start in starts]
        if starts:
            await asyncio.wait(self._starting, timeout=wait_s)  # a device that takes longer is asked when it has passed its self-test
        self.close_loader()

    async def aclose(self) -> None:
        """Let go of the workers."""
        self.close_loader()
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*[link.aclose() for link in self._links], *[link.aclose() for link in self._remote.values()])

    def close_loader(self) -> None:
        """End the worker in which releases were loaded and tested."""
        if self._loading is not None:
            self._loading.close()
            self._loading = None
        self._nursery.close()

    def healthy(self) -> tuple[bool, str]:
        """Tell whether every model has a device that answers, and if not, why."""
        reasons = [reason for name in (*self._with_workers, *self._remote) if (reason := self.closed_because(name))]
        return not reasons, reasons[0] if reasons else ""

    def require_healthy(self) -> None:
        """Refuse to serve without a device for each model.

        Raises:
            RuntimeRefused: says why one has none.
        """
        good, why = self.healthy()
        if not good:
            raise RuntimeRefused("models", why)

    def closed_because(self, name: str) -> str:
        """Say why no device runs a model now; empty: one does."""
        if name in self._remote:
            return self._remote[name].closed
        tested = self._with_workers.get(name)
        reasons = [link.closed_because(tested.key) for link in self._links] if tested is not None else []
        return reasons[-1] if reasons and all(reasons) else ""

    def run(
        self, name: str, tensors: Mapping[str, float], variant_index: int | None, remaining_s: float
    ) -> EngineResult | Awaitable[EngineResult]:
        """Run one row; `remaining_s`: after that nobody waits.

        Raises:
            InferenceFailed: no device gave a believable result; from the call or from the awaitable.
        """
        remote = self._remote.get(name)
        if remote is not None:
            return remote.run(checked_inputs(remote.signature, tensors, variant_index), remaining_s)
        tested = self._with_workers.get(name)
        if tested is None:
            return self._engine.run(name, tensors, variant_index)
        return self._run_with_workers(tested, checked_inputs(tested.signature, tensors, variant_index), variant_index, remaining_s)

    async def _run_with_workers(
        self, tested: TestedGraph, values: list[float], variant_index: int | None, remaining_s: float
    ) -> EngineResult:
        """Go down the devices; each gets its share of the time that is left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + remaining_s
        why: list[str] = []
        for place, link in enumerate(self._links):
            share_s = (until - loop.time()) / (len(self._links) - place)
            try:
                result = await link.run(tested.key, values, variant_index, share_s)
            except InferenceFailed as failure:
                why.append(f"{link.device.value.upper()}: {failure.reason}")
            else:
                return msgspec.structs.replace(result, stepped_down="; ".join(why)) if why else result
        raise InferenceFailed("; ".join(why) or "no worker was started")

    def _target(self, name: str) -> RemoteModel:
        if name not in self._plan.remote:
            raise RuntimeRefused("models.remote", f"no server is configured that runs {name}")
        return self._plan.remote[name]

    def _loader(self) -> WorkerConnection:
        """Return a connection to a worker of this runtime's own: what is not known to be good never runs beside what is served."""
        if self._loading is None:
            self._nursery = contextlib.ExitStack()
            folder = self._nursery.enter_context(open_workers(msgspec.structs.replace(self._plan, device="cpu")))
            try:
                self._loading = WorkerConnection.open(socket_path(folder, Device.CPU))
            except WorkerLost as lost:
                self._nursery.close()
                raise RuntimeRefused("model.onnx", lost.reason) from None
        return self._loading

    def _load_with_worker(self, release: PlaceableRelease, signature: Signature, self_test: Callable[[RunRow], None]) -> TestedGraph:
        """Let a worker load the graph and run the vectors there; their rows become those by which every device is tested."""
        key = graph_key(signature, release.graph)
        golden: list[GoldenRow] = []
        try:
            runner = WorkerRunner(self._loader(), key, signature, release.graph, self._plan.batch_rows_max)
            began = time.perf_counter()
            self_test(_recording(runner, golden))
            seconds = (time.perf_counter() - began) / max(1, len(golden))
            require_quick(seconds, self._plan.run_s_max)
            chosen = chosen_rows(golden, seconds)
            tested = TestedGraph(
                name=release.manifest.name,
                key=key,
                signature=signature,
                graph=release.graph,
                golden=chosen,
                rows_max=rows_at_once(chosen, seconds, self._plan.batch_rows_max, self._plan.run_s_max),
                tolerance=release.manifest.device_tolerance,
            )
            require_rows_apart(tested, runner)
        except BaseException:
            self.close_loader()  # whatever it left behind in that worker goes with it
            raise
        return tested


def _recording(runner: WorkerRunner, golden: list[GoldenRow]) -> RunRow:
    """Return a run that keeps what each row gave."""

    def run(tensors: Mapping[str, float], variant_index: int | None) -> EngineResult:
        result = runner.run(tensors, variant_index)
        numbers = (list(result.values), list(result.applicable))
        golden.append(GoldenRow(checked_inputs(runner.signature, tensors, variant_index), variant_index, numbers))
        return result

    return run


def require_quick(seconds_of_a_row: float, run_s_max: float) -> None:
    """Refuse a graph that would be taken for hung each time.

    Raises:
        RuntimeRefused: one row takes longer than a run may.
    """
    if seconds_of_a_row > run_s_max:
        raise RuntimeRefused("model.onnx", "one row takes longer than models.run_s_max allows")


def require_rows_apart(tested: TestedGraph, runner: WorkerRunner) -> None:
    """Refuse a graph in which one row changes another: run together, rows must give what each gave alone.

    Raises:
        RuntimeRefused: they do not.
    """
    for piece in tested.pieces():
        found = runner.run_together([row.values for row in piece], [row.variant for row in piece])
        if disagreement(tested, piece, found):
            raise RuntimeRefused("model.onnx", "rows that run together give other numbers than alone")
