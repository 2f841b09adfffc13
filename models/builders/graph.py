"""A graph under construction: nodes and constants in the order they are added, with fixed names, so that a build gives the same bytes.

Arrays are float64 (or int64 / bool where an operator wants them). Nothing here depends on the clock, the machine or the process.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10
OPSET = 20  # ai.onnx, released
DOUBLE, INT64, BOOL = TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL

Array = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.bool_]


class GraphUnderConstruction:
    """Collects nodes and constants. A node is named after its first output."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: Array) -> str:
        """Add a constant and return its name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: int) -> str:
        """Add a node with one output and return the output's name."""
        node = helper.make_node(operator, list(inputs), [output], name=output)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self._nodes.append(node)
        return output

    def serialise(self, inputs: Mapping[str, int], outputs: Mapping[str, tuple[int, int]], doc: str) -> bytes:
        """Return the model's bytes.

        `inputs`: name -> element type, each [N]; `outputs`: name -> (element type, columns), each [N, columns].
        """
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(name, kind, ["N"]) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(name, kind, ["N", columns]) for name, (kind, columns) in outputs.items()],
            initializer=self._constants,
        )
        model = helper.make_model(
            graph, producer_name="", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)], doc_string=doc
        )
        onnx.checker.check_model(model, full_check=True)
        serialised: bytes = model.SerializeToString(deterministic=True)
        return serialised
