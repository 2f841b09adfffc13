"""The engine: what it believes, what it refuses, and that one patient's run never touches another's."""

import ast
import math
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto
from tiny_graphs import COLUMN, HONEST, SUM, Release, finish, graph

from gateway.errors import ModelRefused
from gateway.inference.engine import InProcessEngine
from gateway.inference.result import Device, EngineResult, InferenceFailed, RuntimeRefused

ROOT = Path(__file__).parents[2]
INPUTS = {"age_years": 40.0, "sex": 1.0, "creatinine_mg_dl": 1.5}
ABSENT = dict.fromkeys(INPUTS, math.nan)


def accept(run):
    """Pass every self-test."""


@pytest.fixture
def engine(sum_manifest) -> InProcessEngine:
    """Return an engine that serves the sum of three inputs."""
    engine = InProcessEngine()
    engine.load(Release(sum_manifest, HONEST), accept)
    return engine


def test_a_number_that_applies_comes_back_with_device_and_runtime(engine):
    """And an absent input gives NaN that does not apply."""
    result = engine.run("sum", INPUTS, None)
    assert (result.values, result.applicable, result.device) == ((42.5,), (True,), Device.CPU)
    assert result.runtime.startswith("onnxruntime ")
    assert result.runtime.endswith(" CPUExecutionProvider")
    absent = engine.run("sum", {**INPUTS, "sex": math.nan}, None)
    assert math.isnan(absent.values[0])
    assert absent.applicable == (False,)


@pytest.mark.parametrize(
    ("tensors", "variant"),
    [
        ({**INPUTS, "sex": math.inf}, None),
        ({**INPUTS, "sex": -math.inf}, None),
        ({name: INPUTS[name] for name in ("age_years", "sex")}, None),
        ({**INPUTS, "height_cm": 180.0}, None),
        ({"age": 40.0, "sex": 1.0, "creatinine_mg_dl": 1.5}, None),
        ({**INPUTS, "sex": "male"}, None),
        ({**INPUTS, "sex": None}, None),
        (INPUTS, 0),
    ],
    ids=["inf", "-inf", "one missing", "one more", "another name", "text", "none", "a variant"],
)
def test_inputs_that_are_not_the_models_are_not_run(engine, tensors, variant):
    """Nothing is left out, added, guessed or infinite."""
    with pytest.raises(InferenceFailed):
        engine.run("sum", tensors, variant)
    assert engine.run("sum", INPUTS, None).values == (42.5,)


def test_a_variant_must_be_one_of_the_manifests(shipped):
    """None, a negative and an unknown one are refused before the run."""
    engine = InProcessEngine()
    engine.load(shipped["prevent"], accept)
    tensors = {spec.tensor: math.nan for spec in shipped["prevent"].manifest.inputs}
    engine.run("prevent", tensors, 4)
    for variant in (None, -1, 5):
        with pytest.raises(InferenceFailed, match="variant"):
            engine.run("prevent", tensors, variant)


def test_an_unknown_model_is_a_failure_of_the_run(engine):
    """The caller steps down the ladder."""
    with pytest.raises(InferenceFailed, match="not loaded"):
        engine.run("other", INPUTS, None)
    with pytest.raises(InferenceFailed, match="not loaded"):
        engine.run_batch("other", [(INPUTS, None)])


MINUS, HUGE, FALSE, TRUE = ("minus", -1e9), ("huge", 1e308), ("false", [[False]]), ("true", [[True]])
ALWAYS = ("Or", ["withheld", "true"], "applicable", {})
IS_NAN = ("IsNaN", ["total"], "withheld", {})
LIES = {
    # what the graph does -> nodes, constants. On absent inputs each of them still behaves, so that it can be loaded.
    "a negative number that applies": [("Add", ["total", "minus"], "egfr", {}), IS_NAN, ("Not", ["withheld"], "applicable", {})],
    "infinity that applies": [
        ("Mul", ["total", "huge"], "big", {}), ("Mul", ["big", "huge"], "egfr", {}), IS_NAN, ("Not", ["withheld"], "applicable", {}),
    ],
    "a number that does not apply": [("Identity", ["total"], "egfr", {}), IS_NAN, ("And", ["withheld", "false"], "applicable", {})],
    "NaN that applies": [
        ("Sub", ["total", "total"], "nought", {}), ("Div", ["nought", "nought"], "egfr", {}),
        IS_NAN, ("Not", ["withheld"], "applicable", {}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("lie", list(LIES))
def test_a_result_that_cannot_be_believed_is_a_failure(sum_manifest, lie):
    """Out of range, infinite, or number and `applicable` contradicting each other: the engine gives no number."""
    engine = InProcessEngine()
    engine.load(Release(sum_manifest, graph([*SUM, *LIES[lie]], [COLUMN, MINUS, HUGE, FALSE, TRUE])), accept)
    with pytest.raises(InferenceFailed, match="output"):
        engine.run("sum", INPUTS, None)
    assert [type(outcome) for outcome in engine.run_batch("sum", [(INPUTS, None), (ABSENT, None)])] == [InferenceFailed, EngineResult]


REFUSED = {
    "NaN that applies, on absent inputs": graph([*SUM, ("Identity", ["total"], "egfr", {}), IS_NAN, ALWAYS], [COLUMN, TRUE]),
    "another shape": graph(
        [*SUM, ("Concat", ["total", "total"], "egfr", {"axis": 0}), ("IsNaN", ["egfr"], "nan", {}), ("Not", ["nan"], "applicable", {})],
        [COLUMN],
    ),
    "float32": graph(
        [*SUM, ("Cast", ["total"], "egfr", {"to": TensorProto.FLOAT}), IS_NAN, ("Not", ["withheld"], "applicable", {})],
        [COLUMN], egfr=(TensorProto.FLOAT, ["N", 1]),
    ),
    "two columns": graph(
        [*SUM, ("Concat", ["total", "total"], "egfr", {"axis": 1}), ("IsNaN", ["egfr"], "nan", {}), ("Not", ["nan"], "applicable", {})],
        [COLUMN], egfr=(TensorProto.DOUBLE, ["N", 2]), applicable=(TensorProto.BOOL, ["N", 2]),
    ),
    "nothing": b"",
    "garbage": b"\x08\x0a\x12\x00not a model",
    "half a graph": HONEST[: len(HONEST) // 2],
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_a_graph_that_is_not_what_the_manifest_says_is_not_loaded(sum_manifest, what):
    """The refusal names the file; the model is not served."""
    engine = InProcessEngine()
    with pytest.raises(RuntimeRefused, match=r"model\.onnx"):
        engine.load(Release(sum_manifest, REFUSED[what]), accept)
    assert engine.models == ()


def test_a_bad_release_never_replaces_a_good_one(engine, sum_manifest):
    """Whether the graph or its self-test fails, the one served before still answers."""
    other = finish(("Add", ["total", "total"], "egfr", {}), IS_NAN, ("Not", ["withheld"], "applicable", {}))

    def fail(run):
        assert run(INPUTS, None).values == (85.0,)
        raise ModelRefused("vectors.csv", "one row failed")

    with pytest.raises(ModelRefused, match="one row failed"):
        engine.load(Release(sum_manifest, other), fail)
    with pytest.raises(RuntimeRefused):
        engine.load(Release(sum_manifest, b"x"), accept)
    assert engine.run("sum", INPUTS, None).values == (42.5,)
    engine.load(Release(sum_manifest, other), accept)
    assert engine.run("sum", INPUTS, None).values == (85.0,)


def test_outputs_must_be_numbered_from_nought(sum_manifest):
    """A gap would hand one output's number to another."""
    output = msgspec.structs.replace(sum_manifest.outputs[0], index=1)
    with pytest.raises(RuntimeRefused, match="indices"):
        InProcessEngine().load(Release(msgspec.structs.replace(sum_manifest, outputs=(output,)), HONEST), accept)


def prevent_rows(manifest, count: int) -> list[tuple[dict[str, float], int]]:
    """Return patients with every mix of present and absent inputs, always the same ones."""
    draw = np.random.default_rng(20240311)
    limits = {spec.tensor: (spec.model_range.low, spec.model_range.high) for spec in manifest.inputs if spec.model_range}
    rows = []
    for _ in range(count):
        row = {spec.tensor: float(draw.integers(0, 2)) for spec in manifest.inputs}
        row |= {name: float(draw.integers(math.ceil(low), math.floor(high) + 1)) for name, (low, high) in limits.items()}
        row["age_years"] = float(draw.integers(28, 82))
        row |= {name: math.nan for name in row if draw.random() < 0.04}
        rows.append((row, int(draw.integers(0, 5))))
    return rows


def same(left, right) -> bool:
    """Compare results bit for bit, NaN included."""
    return left.applicable == right.applicable and np.array(left.values).tobytes() == np.array(right.values).tobytes()


def test_a_batch_gives_bit_for_bit_what_single_runs_give(shipped):
    """Whoever else is in the batch; a row with bad inputs fails alone."""
    engine = InProcessEngine()
    engine.load(shipped["prevent"], accept)
    rows = prevent_rows(shipped["prevent"].manifest, 64)
    alone = [engine.run("prevent", *row) for row in rows]
    assert any(any(result.applicable) for result in alone)
    for size in (1, 2, 7, 64):
        assert all(same(one, other) for one, other in zip(engine.run_batch("prevent", rows[:size]), alone[:size], strict=True))
    mixed = engine.run_batch("prevent", [rows[0], ({**rows[1][0], "sex": math.inf}, 0), rows[2], (rows[3][0], 17)])
    assert [isinstance(outcome, InferenceFailed) for outcome in mixed] == [False, True, False, True]
    assert same(mixed[0], alone[0])
    assert same(mixed[2], alone[2])
    assert engine.run_batch("prevent", []) == ()


def test_threads_do_not_see_each_others_patients(shipped):
    """Four threads, different patients at the same time: each gets its own numbers."""
    engine = InProcessEngine()
    engine.load(shipped["prevent"], accept)
    rows = prevent_rows(shipped["prevent"].manifest, 40)
    expected = [engine.run("prevent", *row) for row in rows]
    wrong: list[int] = []

    def work(start: int) -> None:
        for turn in range(400):
            place = (start + turn) % len(rows)
            if not same(engine.run("prevent", *rows[place]), expected[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(start * 10,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_run_that_writes_nothing_leaves_no_earlier_patients_number(engine):
    """The arrays are cleared before and the inputs after each run, also when the runtime fails."""
    engine.run("sum", INPUTS, None)
    arrays = engine._models["sum"]._threads.arrays
    assert np.isnan(arrays._inputs).all()

    class Dead:
        def run_with_iobinding(self, _):
            """Do nothing, as a runtime that lost its work."""

    arrays._session = Dead()
    result = engine.run("sum", INPUTS, None)
    assert math.isnan(result.values[0])
    assert result.applicable == (False,)

    class Failing:
        def run_with_iobinding(self, _):
            """Fail with a text that quotes an input."""
            raise RuntimeError("creatinine 1.5 is odd")

    arrays._session = Failing()
    with pytest.raises(InferenceFailed) as failure:
        engine.run("sum", INPUTS, None)
    assert "1.5" not in str(failure.value)
    assert np.isnan(arrays._inputs).all()


def test_the_runtime_is_imported_in_one_file():
    """So that its settings, and what is believed of it, cannot be bypassed."""
    importing = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            importing |= {str(path.relative_to(ROOT)) for name in names if name.split(".")[0] in {"onnxruntime", "onnx"}}
    assert importing == {"gateway/inference/engine.py"}
