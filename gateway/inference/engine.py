"""Runs tiny graphs in the server process, on the CPU, the same way every time: the only file that imports onnxruntime.

The settings and their reasons (measured): one thread and sequential execution, because two threads give other last bits and a spinning
one burns a core; the CPU named explicitly and the Python retry off, because onnxruntime otherwise swaps providers in silence; loaded
from bytes that were hashed, never from a path, so that nothing outside them can be read.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from gateway.features.manifest import ModelManifest
from gateway.inference.result import (
    Device,
    EngineResult,
    InferenceFailed,
    RuntimeRefused,
    Signature,
    believe,
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

CPU_PROVIDER = "CPUExecutionProvider"
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
_TYPES = {"tensor(double)": "float64", "tensor(int64)": "int64", "tensor(bool)": "bool"}


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
    """Holds one session per model. `run` may be called from several threads; `load` replaces a model only after its self-test passed."""

    def __init__(self) -> None:
        self._models: dict[str, _LoadedModel] = {}  # replaced as a whole, never changed: readers need no lock

    def load(self, release: LoadableRelease, self_test: Callable[[RunRow], None]) -> None:
        """Load a graph beside what is served now, run its vectors, warm it, and only then serve it under the manifest's name.

        `self_test` runs every vector of the release through the function it gets, and raises when one fails.

        Raises:
            RuntimeRefused: the runtime refuses the graph, or its signature is not the manifest's.
            gateway.errors.ModelRefused: from `self_test`.
        """
        model = _LoadedModel(release.manifest, release.graph)
        self_test(model.run)
        model.warm_up()
        self._models = {**self._models, release.manifest.name: model}

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


class _LoadedModel:
    """One session with the arrays it reads and writes, one set per thread."""

    def __init__(self, manifest: ModelManifest, graph: bytes) -> None:
        self._signature = signature_of(manifest)
        self._session = _create_session(graph)
        _check_signature(self._session, self._signature)
        self._runtime = f"onnxruntime {ort.__version__} {CPU_PROVIDER}"
        self._threads = threading.local()

    def run(self, tensors: Mapping[str, float], variant_index: int | None) -> EngineResult:
        """Run one row through this thread's arrays.

        Raises:
            InferenceFailed: see `InProcessEngine.run`.
        """
        values = checked_inputs(self._signature, tensors, variant_index)
        arrays: _BoundArrays | None = getattr(self._threads, "arrays", None)
        if arrays is None:
            arrays = self._threads.arrays = _BoundArrays(self._session, self._signature)
        results, applicable = arrays.run(values, variant_index)
        return self._result(results, applicable)

    def run_batch(self, rows: Sequence[Row]) -> tuple[EngineResult | InferenceFailed, ...]:
        """Run the rows whose inputs are in order together; where the batch as a whole fails, one by one."""
        outcomes: dict[int, EngineResult | InferenceFailed] = {}
        good: dict[int, list[float]] = {}
        for place, (tensors, variant_index) in enumerate(rows):
            try:
                good[place] = checked_inputs(self._signature, tensors, variant_index)
            except InferenceFailed as failure:
                outcomes[place] = failure
        variants = [rows[place][1] or 0 for place in good]
        try:
            results = self._run_together(list(good.values()), variants)
        except InferenceFailed:
            outcomes |= {place: self._outcome_alone(*rows[place]) for place in good}
        else:
            outcomes |= {place: self._outcome(*result) for place, result in zip(good, results, strict=True)}
        return tuple(outcomes[place] for place in range(len(rows)))

    def warm_up(self) -> None:
        """Run the graph on nothing but absent inputs until its allocations are made.

        Raises:
            RuntimeRefused: it cannot even do that believably.
        """
        nothing = dict.fromkeys(self._signature.inputs, float("nan"))
        try:
            for _ in range(WARM_UP_RUNS):
                self.run(nothing, min(self._signature.variants, default=None))
        except InferenceFailed as failure:
            raise RuntimeRefused("model.onnx", f"without any input: {failure.reason}") from None

    def _result(self, values: list[float], applicable: list[bool]) -> EngineResult:
        believe(self._signature, values, applicable)
        return EngineResult(values=tuple(values), applicable=tuple(applicable), device=Device.CPU, runtime=self._runtime)

    def _outcome(self, values: list[float], applicable: list[bool]) -> EngineResult | InferenceFailed:
        try:
            return self._result(values, applicable)
        except InferenceFailed as failure:
            return failure

    def _outcome_alone(self, tensors: Mapping[str, float], variant_index: int | None) -> EngineResult | InferenceFailed:
        try:
            return self.run(tensors, variant_index)
        except InferenceFailed as failure:
            return failure

    def _run_together(self, rows: list[list[float]], variants: list[int]) -> list[tuple[list[float], list[bool]]]:
        if not rows:
            return []
        columns = np.array(rows, dtype=np.float64).T
        feed = {name: np.ascontiguousarray(columns[place]) for place, name in enumerate(self._signature.inputs)}
        if self._signature.variant is not None:
            feed[self._signature.variant] = np.array(variants, dtype=np.int64)
        try:
            values, applicable = self._session.run([self._signature.result, self._signature.applicable], feed)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a class of its own per status, all below RuntimeError or Exception
            raise InferenceFailed(_words(error)) from None
        shape = (len(rows), self._signature.columns)
        if values.shape != shape or applicable.shape != shape or values.dtype != np.float64 or applicable.dtype != np.bool_:
            raise InferenceFailed("the graph gave another shape than it promised")
        return list(zip(values.tolist(), applicable.tolist(), strict=True))


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

    def run(self, values: list[float], variant_index: int | None) -> tuple[list[float], list[bool]]:
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


def _create_session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = _FATAL_ONLY  # its messages would go to stderr, unstructured
    for key, value in _CONFIG.items():
        options.add_session_config_entry(key, value)
    try:
        session = ort.InferenceSession(graph, sess_options=options, providers=[CPU_PROVIDER], enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - whatever the runtime finds wrong with foreign bytes is a refusal
        raise RuntimeRefused("model.onnx", _words(error)) from None
    session.disable_fallback()
    if session.get_providers() != [CPU_PROVIDER]:
        raise RuntimeRefused("model.onnx", "the runtime chose another provider than the one asked for")
    return session


def _check_signature(session: ort.InferenceSession, signature: Signature) -> None:
    """Compare names, element types, ranks and columns as the runtime sees them with what the manifest promises.

    Raises:
        RuntimeRefused: they differ.
    """
    inputs = {node.name: (_TYPES.get(node.type, node.type), len(node.shape)) for node in session.get_inputs()}
    promised = dict.fromkeys(signature.inputs, ("float64", 1))
    if signature.variant is not None:
        promised[signature.variant] = ("int64", 1)
    outputs = {node.name: (_TYPES.get(node.type, node.type), tuple(node.shape)[1:]) for node in session.get_outputs()}
    columns = (signature.columns,)
    if inputs != promised:
        raise RuntimeRefused("model.onnx", "its inputs are not those of the manifest")
    if outputs != {signature.result: ("float64", columns), signature.applicable: ("bool", columns)}:
        raise RuntimeRefused("model.onnx", "its outputs are not those of the manifest")


def _words(error: Exception) -> str:
    """Return the kind of a foreign error in our words: its text may hold values or paths and is not passed on."""
    return f"the runtime reported {type(error).__name__}"
