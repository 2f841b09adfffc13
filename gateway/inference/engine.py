"""Runs graphs, the same way every time: the only file that imports onnxruntime. The server process and the workers both use it.

The settings and their reasons (measured): one thread and sequential execution, because two threads give other last bits and a spinning
one burns a core; the provider named explicitly and the Python retry off, because onnxruntime otherwise swaps providers in silence; loaded
from bytes that were hashed, never from a path, so that nothing outside them can be read.
"""

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gateway.features.manifest import ModelManifest
from gateway.inference.result import (
    Device,
    EngineResult,
    InferenceFailed,
    Numbers,
    RuntimeRefused,
    Signature,
    believe,
    believed,
    checked_inputs,
    signature_of,
)

# ONNX Runtime's official Linux packages (since 1.29) send usage data, names and hashes of models among it, to their maker and keep a
# device id on disk, unless this is set before the library is loaded (microsoft/onnxruntime, pull request 27379).
# Nothing leaves a hospital unasked.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort  # type: ignore[import-untyped]  # the package ships no types

Row = tuple[Mapping[str, float], int | None]  # tensors by name, variant index
RunRow = Callable[[Mapping[str, float], int | None], EngineResult]

PROVIDERS = {Device.CPU: "CPUExecutionProvider", Device.GPU: "CUDAExecutionProvider"}
WARM_UP_RUNS = 20  # the first runs of a session allocate; measured 85 to 335 us against about 20
BATCH_ROWS_MAX = 4096
_LINE_BYTES = 64  # each input starts on a cache line of its own
_CONFIG = {
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    "session.allow_released_opsets_only": "1",
    "session.load_model_format": "ONNX",  # else bytes that also look like the runtime's own format would be read as that
}
_FATAL_ONLY = 4
# A node that the GPU cannot take fails the load instead of running on the CPU unseen (serving 2.3); TF32 would round float32 to 10 bits.
_GPU_CONFIG = {"session.disable_cpu_ep_fallback": "1"}
_GPU_OPTIONS = {"use_tf32": "0"}
_TYPES = {"tensor(double)": "float64", "tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}


class LoadableRelease(Protocol):
    """What the engine needs of a release: the model as data, and the graph's bytes as they were hashed."""

    @property
    def manifest(self) -> ModelManifest:
        """Return the model as data."""
        ...

    @property
    def graph(self) -> bytes:
        """Return the graph."""
        ...


class InProcessEngine:
    """Holds one session per model, on the CPU. `run` may be called from several threads."""

    def __init__(self) -> None:
        self._models: dict[str, LoadedGraph] = {}  # replaced as a whole, never changed: readers need no lock

    def load(self, release: LoadableRelease, self_test: Callable[[RunRow], None]) -> None:
        """Load a graph beside what is served now, run its vectors, warm it, and only then serve it under the manifest's name.

        `self_test` runs every vector of the release through the function it gets, and raises when one fails.

        Raises:
            RuntimeRefused: the runtime refuses the graph, or its signature is not the manifest's.
            gateway.errors.ModelRefused: from `self_test`.
        """
        self.serve(release.manifest.name, LoadedGraph(signature_of(release.manifest), release.graph), self_test)

    def serve(self, name: str, graph: "LoadedGraph", self_test: Callable[[RunRow], None]) -> None:
        """Do the same with a graph that the runtime has taken already.

        Raises:
            RuntimeRefused: it cannot run on absent inputs.
            gateway.errors.ModelRefused: from `self_test`.
        """
        self_test(graph.run)
        graph.warm_up()
        self._models = {**self._models, name: graph}

    @property
    def models(self) -> tuple[str, ...]:
        """Return the names that are served, sorted."""
        return tuple(sorted(self._models))

    def run(self, name: str, tensors: Mapping[str, float], variant_index: int | None) -> EngineResult:
        """Run one row. An absent input is NaN; a tensor may not be left out.

        Raises:
            InferenceFailed: no such model, wrong or infinite inputs, a failure of the runtime, or a result that is not believable.
        """
        model = self._models.get(name)
        if model is None:
            raise InferenceFailed("the model is not loaded")
        return model.run(tensors, variant_index)

    def run_batch(self, name: str, rows: Sequence[Row]) -> tuple[EngineResult | InferenceFailed, ...]:
        """Run several rows in one call, each judged by itself: a bad row fails alone.

        Raises:
            InferenceFailed: no such model, or more rows than `BATCH_ROWS_MAX`.
        """
        model = self._models.get(name)
        if model is None:
            raise InferenceFailed("the model is not loaded")
        if len(rows) > BATCH_ROWS_MAX:
            raise InferenceFailed("too many rows in one batch")
        return model.run_batch(rows)


class LoadedGraph:
    """One graph on one device, with the arrays it reads and writes, one set per thread."""

    def __init__(self, signature: Signature, graph: bytes, device: Device = Device.CPU) -> None:
        """Load the bytes; nothing is run yet.

        Raises:
            RuntimeRefused: the runtime refuses the graph or cannot run all of it on the device, or its signature is another.
        """
        self.signature = signature
        self.device = device
        self._session = _create_session(graph, device)
        _check_signature(self._session, signature)
        self.runtime = f"onnxruntime {ort.__version__} {PROVIDERS[device]}"
        self._bindable = device is Device.CPU and signature.applicable is not None
        self._threads = threading.local()

    def run(self, tensors: Mapping[str, float], variant_index: int | None) -> EngineResult:
        """Run one row.

        Raises:
            InferenceFailed: see `InProcessEngine.run`.
        """
        numbers = self.run_values(checked_inputs(self.signature, tensors, variant_index), variant_index)
        return believed(self.signature, numbers, self.device, self.runtime)

    def run_values(self, values: list[float], variant_index: int | None) -> Numbers:
        """Run one row of numbers in the order of the signature, and return what the graph gave: nobody has looked at it yet.

        Raises:
            InferenceFailed: the runtime failed, or gave another shape than promised.
        """
        if not self.signature.may_run(values):
            return self.signature.withheld()
        if not self._bindable:
            return self._run_together([values], [variant_index or 0])[0]
        arrays: _BoundArrays | None = getattr(self._threads, "arrays", None)
        if arrays is None:
            arrays = self._threads.arrays = _BoundArrays(self._session, self.signature)
        return arrays.run(values, variant_index)

    def run_batch(self, rows: Sequence[Row]) -> tuple[EngineResult | InferenceFailed, ...]:
        """Run the rows whose inputs are in order together, each judged by itself."""
        outcomes: dict[int, EngineResult | InferenceFailed] = {}
        good: dict[int, list[float]] = {}
        for place, (tensors, variant_index) in enumerate(rows):
            try:
                good[place] = checked_inputs(self.signature, tensors, variant_index)
            except InferenceFailed as failure:
                outcomes[place] = failure
        found = self.run_rows(list(good.values()), [rows[place][1] for place in good])
        outcomes |= {place: self._outcome(numbers) for place, numbers in zip(good, found, strict=True)}
        return tuple(outcomes[place] for place in range(len(rows)))

    def run_rows(self, rows: Sequence[list[float]], variants: Sequence[int | None]) -> list[Numbers | InferenceFailed]:
        """Run rows in the order of the signature together; where the batch as a whole fails, one by one, so that one fails alone."""
        found: list[Numbers | InferenceFailed] = [self.signature.withheld() for _ in rows]
        places = [place for place, values in enumerate(rows) if self.signature.may_run(values)]
        together: list[Numbers | InferenceFailed]
        try:
            together = [*self._run_together([rows[place] for place in places], [variants[place] or 0 for place in places])]
        except InferenceFailed:
            together = [self._numbers_alone(rows[place], variants[place]) for place in places]
        for place, numbers in zip(places, together, strict=True):
            found[place] = numbers
        return found

    def warm_up(self) -> None:
        """Run the graph until its allocations are made: on absent inputs, of which nothing may follow, or on noughts, whatever follows.

        Raises:
            RuntimeRefused: it cannot even do that; or, of absent inputs, not believably.
        """
        poisons = self.signature.applicable is not None
        nothing = [float("nan") if poisons else 0.0] * len(self.signature.inputs)
        try:
            for _ in range(WARM_UP_RUNS):
                numbers = self.run_values(nothing, min(self.signature.variants, default=None))
                if poisons:
                    believe(self.signature, *numbers)
        except InferenceFailed as failure:
            raise RuntimeRefused("model.onnx", f"without any input: {failure.reason}") from None

    def seconds_of_a_run(self) -> float:
        """Return how long one row takes, at best: what else the machine does must not decide where a graph runs."""
        values = [1.0] * len(self.signature.inputs)
        variant_index = min(self.signature.variants, default=None)
        quickest = float("inf")
        for _ in range(WARM_UP_RUNS):
            started = time.perf_counter()
            with contextlib.suppress(InferenceFailed):
                self.run_values(values, variant_index)
            quickest = min(quickest, time.perf_counter() - started)
        return quickest

    def _outcome(self, numbers: Numbers | InferenceFailed) -> EngineResult | InferenceFailed:
        if isinstance(numbers, InferenceFailed):
            return numbers
        try:
            return believed(self.signature, numbers, self.device, self.runtime)
        except InferenceFailed as failure:
            return failure

    def _numbers_alone(self, values: list[float], variant_index: int | None) -> Numbers | InferenceFailed:
        try:
            return self.run_values(values, variant_index)
        except InferenceFailed as failure:
            return failure

    def _run_together(self, rows: list[list[float]], variants: list[int]) -> list[Numbers]:
        if not rows:
            return []
        wanted = [self.signature.result, *([self.signature.applicable] if self.signature.applicable is not None else [])]
        try:
            results = self._session.run(wanted, self._feed(rows, variants))
        except InferenceFailed:
            raise
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a class of its own per status, all below RuntimeError or Exception
            raise InferenceFailed(_words(error)) from None
        return _numbers_of(self.signature, len(rows), *results)

    def _feed(self, rows: list[list[float]], variants: list[int]) -> dict[str, npt.NDArray[Any]]:
        exact = np.array(rows, dtype=np.float64)
        with np.errstate(over="ignore"):
            table = exact.astype(self.signature.element)
        if np.isinf(table).any():
            raise InferenceFailed("an input is infinite")
        if self.signature.packed is not None:
            return {self.signature.packed: table}
        feed = {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(self.signature.inputs)}
        if self.signature.variant is not None:
            feed[self.signature.variant] = np.array(variants, dtype=np.int64)
        return feed


class _BoundArrays:
    """Arrays of one row that a session reads and writes in place; belongs to one thread."""

    def __init__(self, session: ort.InferenceSession, signature: Signature) -> None:
        self._inputs = np.full((len(signature.inputs), _LINE_BYTES // 8), np.nan)
        self._variant = np.zeros(1, dtype=np.int64)
        self._values = np.full((1, signature.columns), np.nan)
        self._applicable = np.zeros((1, signature.columns), dtype=np.bool_)
        binding = session.io_binding()
        for place, name in enumerate(signature.inputs):
            binding.bind_input(name, "cpu", 0, np.float64, [1], self._inputs[place].ctypes.data)
        if signature.variant is not None:
            binding.bind_input(signature.variant, "cpu", 0, np.int64, [1], self._variant.ctypes.data)
        shape = [1, signature.columns]
        binding.bind_output(signature.result, "cpu", 0, np.float64, shape, self._values.ctypes.data)
        binding.bind_output(signature.applicable, "cpu", 0, np.bool_, shape, self._applicable.ctypes.data)
        self._session = session
        self._binding = binding

    def run(self, values: list[float], variant_index: int | None) -> Numbers:
        """Run one row. The outputs are cleared first: a run that wrote nothing leaves NaN, never another patient's numbers."""
        self._values.fill(np.nan)
        self._applicable.fill(0)
        try:
            self._inputs[:, 0] = values
            self._variant[0] = variant_index or 0
            self._session.run_with_iobinding(self._binding)  # with RunOptions it costs 30 us more
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a class of its own per status, all below RuntimeError or Exception
            raise InferenceFailed(_words(error)) from None
        finally:
            self._inputs.fill(np.nan)  # no patient's values stay behind
        return self._values[0].tolist(), self._applicable[0].tolist()


def _numbers_of(
    signature: Signature,
    rows: int,
    values: npt.NDArray[Any],
    applicable: npt.NDArray[Any] | None = None,
) -> list[Numbers]:
    """Return a graph's output row by row. Where it does not say what applies, every number of a column that is read does.

    Raises:
        InferenceFailed: another shape or element type than promised.
    """
    shape = (rows, signature.columns)
    if applicable is None:
        values = values.reshape(rows, -1) if values.shape[:1] == (rows,) else values
        read = np.array([valid is not None for valid in signature.ranges])
        if values.ndim != len(shape) or values.shape[1] < signature.columns or values.dtype != signature.element:
            raise InferenceFailed("the graph gave another shape than it promised")
        values = np.where(read, values[:, : signature.columns].astype(np.float64), np.nan)
        applicable = np.broadcast_to(read, shape)
    if values.shape != shape or applicable.shape != shape or values.dtype != np.float64 or applicable.dtype != np.bool_:
        raise InferenceFailed("the graph gave another shape than it promised")
    return list(zip(values.tolist(), applicable.tolist(), strict=True))


def _create_session(graph: bytes, device: Device) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = _FATAL_ONLY  # its messages would go to stderr, unstructured
    for key, value in {**_CONFIG, **(_GPU_CONFIG if device is Device.GPU else {})}.items():
        options.add_session_config_entry(key, value)
    provider = (PROVIDERS[device], _GPU_OPTIONS) if device is Device.GPU else PROVIDERS[device]
    try:
        with warnings.catch_warnings(action="ignore"):  # a provider that is not there is a warning to it, and a refusal here
            session = ort.InferenceSession(graph, sess_options=options, providers=[provider], enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - whatever the runtime finds wrong with foreign bytes is a refusal
        raise RuntimeRefused("model.onnx", _words(error)) from None
    session.disable_fallback()
    if session.get_providers()[:1] != [PROVIDERS[device]] or (device is Device.CPU and len(session.get_providers()) > 1):
        raise RuntimeRefused("model.onnx", "the runtime chose another provider than the one asked for")
    return session


def _check_signature(session: ort.InferenceSession, signature: Signature) -> None:
    """Compare names, element types, ranks and columns as the runtime sees them with what the manifest promises.

    Raises:
        RuntimeRefused: they differ.
    """
    inputs = {node.name: (_TYPES.get(node.type, node.type), len(node.shape)) for node in session.get_inputs()}
    promised: dict[str, tuple[str, int]] = dict.fromkeys(signature.inputs, (signature.element, 1))
    if signature.packed is not None:
        promised = {signature.packed: (signature.element, 2)}
    if signature.variant is not None:
        promised[signature.variant] = ("int64", 1)
    outputs = {node.name: (_TYPES.get(node.type, node.type), tuple(node.shape)[1:]) for node in session.get_outputs()}
    columns = (signature.columns,)
    if inputs != promised:
        raise RuntimeRefused("model.onnx", "its inputs are not those of the manifest")
    if signature.applicable is None:
        if outputs.get(signature.result, ("", ()))[0] != signature.element:
            raise RuntimeRefused("model.onnx", "its outputs are not those of the manifest")
        return
    if outputs != {signature.result: ("float64", columns), signature.applicable: ("bool", columns)}:
        raise RuntimeRefused("model.onnx", "its outputs are not those of the manifest")


def _words(error: Exception) -> str:
    """Return the kind of a foreign error in our words: its text may hold values or paths and is not passed on."""
    return f"the runtime reported {type(error).__name__}"
