"""A model as a hospital brings it: one packed tensor, float32, no word on what applies, more outputs than are read."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from gateway.registry.folder import vouch_for
from gateway.registry.lint import CARD_TEMPLATE

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw().hex()
NAME = "ward"
WEIGHTS, BIAS = (0.03, 0.4, 0.01), -4.0
TOLERANCE = 1e-6  # float32

MANIFEST = """\
schema_version = 1
name = "ward"
version = "0.1.0"
title = "Deterioration on the ward"
publisher = "A ward"
citation = "None: made up for a test"
doi = ""
licence = "none"
intended_use = "None: made up for a test."
limitations = []
dsi_class = "predictive"
result = "risk"
packed_tensor = "X"
element = "float32"
result_tensor = "probabilities"

[eligibility]
age_years = { low = 18, high = 130 }
uses_sex = false

[[inputs]]
name = "age"
tensor = "age_years"
concept = "age"
unit = "a"
[inputs.feature]
operator = "age"

[[inputs]]
name = "creatinine"
tensor = "creatinine_mg_dl"
concept = "creatinine"
unit = "mg/dL"
[inputs.feature]
operator = "newest"
concept = "creatinine"

[[inputs]]
name = "heart_rate"
tensor = "heart_rate_per_min"
concept = "heart_rate"
unit = "/min"
[inputs.feature]
operator = "newest"
concept = "heart_rate"

[[outputs]]
name = "deterioration"
index = 1
label = "deterioration"
vector_column = "expected_deterioration"
title = "Deterioration"
outcome_text = "Transfer to intensive care within two days"
needs = ["age", "creatinine", "heart_rate"]
horizon_days = 2
valid_range = { low = 0.0, high = 1.0 }
headline = true
"""


def probability(age: float, creatinine: float, heart_rate: float) -> float:
    """Return what the model must give, computed another way."""
    score = sum(weight * value for weight, value in zip(WEIGHTS, (age, creatinine, heart_rate), strict=True)) + BIAS
    return 1 / (1 + math.exp(-score))


def graph_bytes(*, slow: int = 0, mixing: bool = False) -> bytes:
    """Return the graph; `slow`: how many products with a million weights stand before the result, which they do not change.

    `mixing`: rows that run together are drawn towards their mean; one alone is not changed.
    """
    nodes = [
        helper.make_node("MatMul", ["X", "weights"], ["weighed"]),
        helper.make_node("Add", ["weighed", "bias"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["both"], axis=1),
        helper.make_node("ArgMax", ["both"], ["label"], axis=1, keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(np.array(WEIGHTS, np.float32).reshape(3, 1), "weights"),
        numpy_helper.from_array(np.array([BIAS], np.float32), "bias"),
        numpy_helper.from_array(np.array([1], np.float32), "one"),
    ]
    last = "both"
    if slow:
        width = 1024
        constants += [
            numpy_helper.from_array(np.zeros((2, width), np.float32), "widen"),
            *[numpy_helper.from_array(np.full((width, width), 0.5 + turn, np.float32), f"wide{turn}") for turn in range(slow)],
            numpy_helper.from_array(np.zeros((width, 2), np.float32), "narrow"),
        ]
        nodes.append(helper.make_node("MatMul", ["both", "widen"], ["w0"]))
        nodes += [helper.make_node("MatMul", [f"w{turn}", f"wide{turn}"], [f"w{turn + 1}"]) for turn in range(slow)]
        nodes += [helper.make_node("MatMul", [f"w{slow}", "narrow"], ["nought"]), helper.make_node("Add", ["both", "nought"], ["same"])]
        last = "same"
    if mixing:
        constants += [
            numpy_helper.from_array(np.array([0], np.int64), "rows"),
            numpy_helper.from_array(np.array([0.5], np.float32), "half"),
        ]
        nodes += [
            helper.make_node("ReduceMean", [last, "rows"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["mean", last], ["away"]),
            helper.make_node("Mul", ["away", "half"], ["halfway"]),
            helper.make_node("Add", [last, "halfway"], ["drawn"]),
        ]
        last = "drawn"
    nodes.append(helper.make_node("Identity", [last], ["probabilities"]))
    graph = helper.make_graph(
        nodes,
        "ward",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        initializer=constants,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


def vectors() -> str:
    """Return rows of every kind, the last with an input that is absent."""
    rows = [(20 + 7 * place, 0.5 + 0.3 * place, 50 + 6 * place) for place in range(10)]
    lines = [f"v{place},{age},{creatinine},{rate},{probability(age, creatinine, rate)!r},{TOLERANCE}"
             for place, (age, creatinine, rate) in enumerate(rows)]  # fmt: skip
    header = "case_id,age_years,creatinine_mg_dl,heart_rate_per_min,expected_deterioration,tolerance_abs"
    return "\n".join([header, *lines, "absent,60,,80,,0"]) + "\n"


REMOTE = {'element = "float32"': 'element = "float64"\nbackend = "remote"', '"probabilities"': '"predict_proba"'}


def write_release(
    root: Path, graph: bytes | None = None, version: str = "0.1.0", changed: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Write and sign the release below `root`; `changed`: texts of the manifest to be replaced. One of `REMOTE` has no graph."""
    folder = root / NAME / version
    folder.mkdir(parents=True)
    manifest = MANIFEST.replace("0.1.0", version)
    for old, new in changed.items():
        manifest = manifest.replace(old, new)
    (folder / "manifest.toml").write_text(manifest)
    (folder / "vectors.csv").write_text(vectors())
    (folder / "card.toml").write_text(
        CARD_TEMPLATE.read_text().replace("What it tells, about whom, for whom.", "None: made up for a test.")
    )
    if changed is not REMOTE:
        (folder / "model.onnx").write_bytes(graph_bytes() if graph is None else graph)
    vouch_for(folder, KEY)
    return folder


def record(heart_rate: float | None = 90.0) -> dict:
    """Return the record of a man of 60 with what the model reads: creatinine 1.2 mg/dL and a heart rate."""
    subject = {"reference": "Patient/w"}
    resources = [{"resourceType": "Patient", "id": "w", "gender": "male", "birthDate": "1966-01-01"}]
    for code, value, unit in (("2160-0", 1.2, "mg/dL"), ("8867-4", heart_rate, "/min")):
        if value is not None:
            resources.append(
                {
                    "resourceType": "Observation", "id": f"o{code}", "status": "final", "subject": subject,
                    "effectiveDateTime": "2026-01-05T23:00:00Z", "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                    "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit},
                }
            )  # fmt: skip
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource} for resource in resources]}


def write_config(folder: Path, **models: str) -> Path:
    """Write the configuration of a gateway that serves only the releases below `folder / "models"`; `models`: further settings as TOML."""
    config = folder / "gateway.toml"
    lines = [
        "[server]",
        "port = 0",
        "[audit]",
        f'database = "{folder / "audit.db"}"',
        f'key_file = "{folder / "kek.json"}"',
        "[logging]",
        'level = "error"',
        "[models]",
        f'folder = "{folder / "models"}"',
        f'trusted_keys = ["{PUBLIC_KEY}"]',
        *(f"{name} = {text}" for name, text in models.items()),
    ]
    config.write_text("\n".join(lines) + "\n")
    return config
