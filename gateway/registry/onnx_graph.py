"""Looks into a graph before any runtime sees it: operators, domains, opsets, signature; and refuses what may not run.

Source: onnx.proto (ONNX IR version 3 to 13); field numbers below are its own. Only known fields are accepted, each with its wire type,
so that a runtime that understands more than this reader never gets it. Refused: control flow and every other nested graph, functions,
training information, sparse constants, data outside the file, operators and domains that are not on the list, opsets not released.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from gateway.registry.protobuf import LENGTH, VARINT, Field, Malformed, read_fields
from gateway.registry.refusal import GraphRefused

PLACE = "model.onnx"
NODES_MAX = 20_000
CONSTANTS_MAX = 20_000
INPUTS_MAX = 512

# Domain -> opsets that are released and known to the pinned runtime.
OPSETS = {"": range(13, 25), "ai.onnx.ml": range(1, 6)}
_DEFAULT_DOMAIN = "ai.onnx"  # another spelling of ""

# Operators whose cost and memory follow from the sizes of their inputs. Not here: Loop, If, Scan (nested graphs), anything that makes a
# tensor of a size it reads from data (ConstantOfShape, Expand, Tile, Range, Pad, Resize), random numbers, sequences, strings.
OPERATORS = {
    "": frozenset({
        "Abs", "Add", "And", "ArgMax", "Cast", "Ceil", "Clip", "Concat", "Constant", "Div", "Equal", "Erf", "Exp", "Flatten", "Floor",
        "Gather", "Gemm", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log",
        "LogSoftmax", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "ReduceMax", "ReduceMean",
        "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Slice", "Softmax", "Softplus",
        "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze", "Where", "Xor",
    }),
    "ai.onnx.ml": frozenset({
        "ArrayFeatureExtractor", "Binarizer", "FeatureVectorizer", "Imputer", "LinearClassifier", "LinearRegressor", "Normalizer", "Scaler",
        "SVMClassifier", "SVMRegressor", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor",
    }),
}  # fmt: skip

# TensorProto.DataType -> name
ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool", 11: "float64"}

_MODEL = {1: VARINT, 2: LENGTH, 3: LENGTH, 4: LENGTH, 5: VARINT, 6: LENGTH, 7: LENGTH, 8: LENGTH, 14: LENGTH}  # 20 training, 25 functions
_GRAPH = {1: LENGTH, 2: LENGTH, 5: LENGTH, 10: LENGTH, 11: LENGTH, 12: LENGTH, 13: LENGTH, 16: LENGTH}  # 14 quantization, 15 sparse
_NODE = {1: LENGTH, 2: LENGTH, 3: LENGTH, 4: LENGTH, 5: LENGTH, 6: LENGTH, 7: LENGTH, 9: LENGTH}  # 8 overload (functions)
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_GRAPH_NODE, _GRAPH_CONSTANT, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_VALUE_NAME, _VALUE_TYPE = 1, 2
_DIMENSION_NUMBER, _DIMENSION_NAME = 1, 2
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_REFUSED_METADATA = "ort_config"  # session options that onnxruntime may take from a model
_ATTRIBUTE_GRAPHS = {6: "a nested graph", 11: "a nested graph", 22: "a sparse tensor", 23: "a sparse tensor"}
_ATTRIBUTE_TENSORS = (5, 10)


class TensorType(NamedTuple):
    """Element type and dimensions: a number, or the name of an open one ("" for an unnamed one)."""

    element: str
    dimensions: tuple[int | str, ...]


class GraphSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a graph is, as far as it decides whether it may run."""

    opsets: Mapping[str, int]
    operators: frozenset[tuple[str, str]]  # (domain, operator)
    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    nodes: int


def read_graph(model: bytes) -> GraphSummary:
    """Return what a model holds, once everything in it is known to be allowed.

    Raises:
        GraphRefused: it is malformed or holds what may not run.
    """
    try:
        return _read_model(memoryview(model))
    except Malformed as error:
        raise GraphRefused(PLACE, f"is not a model: {error}") from None


def _read_model(message: memoryview) -> GraphSummary:
    opsets: dict[str, int] = {}
    graphs: list[memoryview] = []
    for field in _known(message, _MODEL, "the model"):
        if field.tag == _MODEL_OPSET:
            domain, version = _read_opset(field.content)
            if domain in opsets:
                raise GraphRefused(PLACE, "imports an operator set twice")
            opsets[domain] = version
        elif field.tag == _MODEL_GRAPH:
            graphs.append(field.content)
        elif field.tag == _MODEL_METADATA:
            _check_metadata(field.content)
    if len(graphs) != 1:
        raise GraphRefused(PLACE, "must hold exactly one graph")
    if "" not in opsets:
        raise GraphRefused(PLACE, "does not say which operator set it uses")
    return _read_graph(graphs[0], opsets)


def _check_metadata(message: memoryview) -> None:
    """StringStringEntryProto: key = 1."""
    if any(_text(field.content) == _REFUSED_METADATA for field in read_fields(message) if field.tag == 1):
        raise GraphRefused(PLACE, "brings options for the runtime")


def _read_opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for field in _known(message, {1: LENGTH, 2: VARINT}, "an operator set"):
        if field.tag == 1:
            domain = _domain(field.content)
        else:
            version = field.number
    if version not in OPSETS.get(domain, ()):
        raise GraphRefused(PLACE, f"uses operator set {version} of a domain that is not allowed or not released in this version")
    return domain, version


def _read_graph(message: memoryview, opsets: Mapping[str, int]) -> GraphSummary:
    operators: set[tuple[str, str]] = set()
    inputs: dict[str, TensorType] = {}
    outputs: dict[str, TensorType] = {}
    nodes = constants = 0
    for field in _known(message, _GRAPH, "the graph"):
        if field.tag == _GRAPH_NODE:
            nodes += 1
            operators.add(_read_node(field.content, opsets))
        elif field.tag == _GRAPH_CONSTANT:
            constants += 1
            _check_tensor(field.content)
        elif field.tag == _GRAPH_INPUT:
            _add_value(inputs, field.content)
        elif field.tag == _GRAPH_OUTPUT:
            _add_value(outputs, field.content)
    if nodes > NODES_MAX or constants > CONSTANTS_MAX or len(inputs) > INPUTS_MAX:
        raise GraphRefused(PLACE, "has too many nodes, constants or inputs")
    return GraphSummary(opsets=opsets, operators=frozenset(operators), inputs=inputs, outputs=outputs, nodes=nodes)


def _read_node(message: memoryview, opsets: Mapping[str, int]) -> tuple[str, str]:
    domains: list[str] = []
    names: list[str] = []
    for field in _known(message, _NODE, "a node"):
        if field.tag == _NODE_OPERATOR:
            names.append(_text(field.content))
        elif field.tag == _NODE_DOMAIN:
            domains.append(_domain(field.content))
        elif field.tag == _NODE_ATTRIBUTE:
            _check_attribute(field.content)
    if len(names) != 1 or len(domains) > 1:
        raise GraphRefused(PLACE, "a node does not name exactly one operator")
    domain = domains[0] if domains else ""
    if domain not in opsets or names[0] not in OPERATORS.get(domain, frozenset()):
        raise GraphRefused(PLACE, "uses an operator that is not on the list")
    return domain, names[0]


def _check_attribute(message: memoryview) -> None:
    for field in read_fields(message):
        if field.tag in _ATTRIBUTE_GRAPHS:
            raise GraphRefused(PLACE, f"an attribute holds {_ATTRIBUTE_GRAPHS[field.tag]}")
        if field.tag in _ATTRIBUTE_TENSORS:
            _check_tensor(field.content)


def _check_tensor(message: memoryview) -> None:
    for field in read_fields(message):
        if field.tag == _TENSOR_EXTERNAL_DATA or (field.tag == _TENSOR_DATA_LOCATION and (field.wire_type != VARINT or field.number)):
            raise GraphRefused(PLACE, "a constant lies outside the file")


def _add_value(values: dict[str, TensorType], message: memoryview) -> None:
    name, kind = "", None
    for field in read_fields(message):
        if field.tag == _VALUE_NAME:
            name = _text(field.content)
        elif field.tag == _VALUE_TYPE:
            kind = _read_type(field.content)
    if not name or kind is None or name in values:
        raise GraphRefused(PLACE, "an input or output has no name, no type, or the name of another")
    values[name] = kind


def _read_type(message: memoryview) -> TensorType:
    """TypeProto: tensor_type = 1 {elem_type = 1, shape = 2 {dim = 1 {value = 1, name = 2}}}. Anything but a tensor is refused."""
    tensors = [field.content for field in _known(message, {1: LENGTH, 6: LENGTH}, "a type") if field.tag == 1]
    element, dimensions = "", []
    for tensor in tensors:
        for field in _known(tensor, {1: VARINT, 2: LENGTH}, "a tensor type"):
            if field.tag == 1:
                element = ELEMENT_TYPES.get(field.number, "")
            else:
                dimensions += [_read_dimension(one.content) for one in _known(field.content, {1: LENGTH}, "a shape")]
    if not element:
        raise GraphRefused(PLACE, "an input or output is not a tensor of an allowed element type")
    return TensorType(element, tuple(dimensions))


def _read_dimension(message: memoryview) -> int | str:
    dimension: int | str = ""
    for field in _known(message, {1: VARINT, 2: LENGTH, 3: LENGTH}, "a dimension"):
        if field.tag == _DIMENSION_NUMBER:
            dimension = field.number
        elif field.tag == _DIMENSION_NAME:
            dimension = _text(field.content)
    return dimension


def _known(message: memoryview, allowed: Mapping[int, int], what: str) -> list[Field]:
    """Return the fields of a message that may hold only these, each with its wire type."""
    fields = list(read_fields(message))
    for field in fields:
        if allowed.get(field.tag) != field.wire_type:
            raise GraphRefused(PLACE, f"{what} holds field {field.tag}, which is not allowed here")
    return fields


def _domain(content: memoryview) -> str:
    domain = _text(content)
    return "" if domain == _DEFAULT_DOMAIN else domain


def _text(content: memoryview) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        raise Malformed("a name is not UTF-8") from None
