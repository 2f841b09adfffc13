"""Tiny graphs over the three inputs of CKD-EPI, honest or not, as foreign tools would write them."""

from typing import NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from gateway.features.manifest import ModelManifest


class Release(NamedTuple):
    """What an engine needs."""

    manifest: ModelManifest
    graph: bytes


def graph(nodes, constants=(), *, egfr=(TensorProto.DOUBLE, ["N", 1]), applicable=(TensorProto.BOOL, ["N", 1])) -> bytes:
    """Return a graph over the three inputs; `nodes` are (operator, inputs, output, attributes)."""
    built = helper.make_graph(
        [helper.make_node(operator, inputs, [output], **attributes) for operator, inputs, output, attributes in nodes],
        "g",
        [
            helper.make_tensor_value_info("age_years", TensorProto.DOUBLE, ["N"]),
            helper.make_tensor_value_info("sex", TensorProto.DOUBLE, ["N"]),
            helper.make_tensor_value_info("creatinine_mg_dl", TensorProto.DOUBLE, ["N"]),
        ],
        [helper.make_tensor_value_info("egfr", *egfr), helper.make_tensor_value_info("applicable", *applicable)],
        initializer=[numpy_helper.from_array(np.array(value), name) for name, value in constants],
    )
    return helper.make_model(built, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


SUM = [
    ("Add", ["age_years", "sex"], "two", {}),
    ("Add", ["two", "creatinine_mg_dl"], "three", {}),
    ("Reshape", ["three", "column"], "total", {}),
]
COLUMN = ("column", np.array([-1, 1]))


def finish(*last) -> bytes:
    """Return the sum of the inputs followed by these nodes, which give `egfr` and `applicable`."""
    return graph([*SUM, *last], [COLUMN])


HONEST = finish(("Identity", ["total"], "egfr", {}), ("IsNaN", ["total"], "withheld", {}), ("Not", ["withheld"], "applicable", {}))
