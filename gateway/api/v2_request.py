"""A request of the Open Inference Protocol, read strictly: names, datatypes and shapes as declared, every number finite.

A graph with one packed tensor is asked with that tensor [N, inputs], in its own element type or in float64, flat or nested; every other one
with one tensor [N] per input.

The rest of the gateway writes an absent input as NaN; here nothing may be absent but by leaving an optional tensor out as a whole.
"""

import math
from collections.abc import Mapping

import msgspec

from gateway.api.envelope import reject_repeated_keys
from gateway.errors import BadRequest, ErrorCode, TooLarge
from gateway.features.manifest import ModelManifest, Variant
from gateway.record.strict_json import check_json

DATATYPE = "FP64"
DATATYPES = {"float64": "FP64", "float32": "FP32"}  # by element type of the graph
APPLICABLE = "applicable"
_DEPTH_MAX = 16
_RANK = 2  # of a packed tensor


class Tensor(msgspec.Struct, frozen=True):
    """One input tensor. `parameters` are allowed by the protocol and say nothing to us."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float | list[float]]
    parameters: Mapping[str, object] = {}


class WantedOutput(msgspec.Struct, frozen=True):
    """The name of an output that is asked for."""

    name: str
    parameters: Mapping[str, object] = {}


class V2Request(msgspec.Struct, frozen=True):
    """The body of `infer`."""

    inputs: tuple[Tensor, ...]
    id: str | None = None
    outputs: tuple[WantedOutput, ...] = ()
    parameters: Mapping[str, object] = {}


_decoder = msgspec.json.Decoder(V2Request)


def read_request(body: bytes, manifest: ModelManifest, *, rows_max: int) -> tuple[V2Request, tuple[Mapping[str, float], ...]]:
    """Return the request and its rows, each a mapping from tensor to number.

    Raises:
        BadRequest: not JSON (null, NaN and Infinity are none that we take), or tensors other than those of the model.
        TooLarge: more than `rows_max` rows, or nested too deep.
    """
    check_json(body, depth_max=_DEPTH_MAX)
    reject_repeated_keys(body, ())
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused("The body is no infer request: inputs with name, shape, datatype and finite numbers.") from error
    _check_outputs(request, manifest)
    if manifest.packed_tensor is not None:
        return request, _packed_rows(request, manifest, manifest.packed_tensor, rows_max)
    tensors = {tensor.name: tensor for tensor in request.inputs}
    _check_names(request, tensors, manifest)
    rows = _count_rows(request, rows_max)
    columns = {name: _column(tensor, rows) for name, tensor in tensors.items()}
    return request, tuple({name: column[place] for name, column in columns.items()} for place in range(rows))


def named_variant(request: V2Request, manifest: ModelManifest) -> Variant | None:
    """Return the variant that the request's parameter `variant` names (a care decision that no number shows, such as NEWS2's SpO2 scale).

    Raises:
        BadRequest: the model has no such variant.
    """
    if "variant" not in request.parameters:
        return None
    for variant in manifest.variants:
        if variant.name == request.parameters["variant"]:
            return variant
    raise _refused("The model has no variant of that name; see the model's metadata.")


def _packed_rows(request: V2Request, manifest: ModelManifest, packed: str, rows_max: int) -> tuple[Mapping[str, float], ...]:
    """Return the rows of the one tensor, by name of input in their declared order."""
    if len(request.inputs) != 1 or request.inputs[0].name != packed:
        raise _refused("The model takes one tensor; see its metadata.")
    (tensor,) = request.inputs
    width = len(manifest.inputs)
    rows = tensor.shape[0] if len(tensor.shape) == _RANK else 0
    if rows < 1 or tensor.shape[1] != width:
        raise _refused(f"The input has the shape [N, {width}], with N of at least 1.")
    if rows > rows_max:
        raise TooLarge(ErrorCode.BODY_TOO_LARGE, "There are more rows than this server accepts in one request.")
    if tensor.datatype not in (DATATYPE, DATATYPES[manifest.element]):
        raise _refused("An input has another datatype than the model's metadata says.")
    table = _rows_of(tensor.data, width)
    if len(table) != rows or not all(map(math.isfinite, (value for row in table for value in row))):
        raise _refused("The input has more or fewer numbers than its shape says, or one that is not finite.")
    names = [spec.tensor for spec in manifest.inputs]
    return tuple(dict(zip(names, row, strict=True)) for row in table)


def _rows_of(data: list[float | list[float]], width: int) -> list[list[float]]:
    """Return flat or nested data as rows; what does not divide into rows of the width gives none."""
    nested = [row for row in data if isinstance(row, list)]
    if nested:
        return nested if len(nested) == len(data) and all(len(row) == width for row in nested) else []
    flat = [value for value in data if isinstance(value, float | int)]
    return [flat[start : start + width] for start in range(0, len(flat), width)] if len(flat) % width == 0 else []


def _check_names(request: V2Request, tensors: Mapping[str, Tensor], manifest: ModelManifest) -> None:
    known = {spec.tensor: spec.optional for spec in manifest.inputs}
    if len(tensors) != len(request.inputs) or not tensors.keys() <= known.keys():
        raise _refused("An input is not one of the model, or is there twice; see the model's metadata.")
    if any(name not in tensors for name, optional in known.items() if not optional):
        raise _refused("A required input is missing; see the model's metadata.")


def _check_outputs(request: V2Request, manifest: ModelManifest) -> None:
    wanted = [output.name for output in request.outputs]
    if not {*wanted} <= {APPLICABLE, *(output.name for output in manifest.outputs)} or len({*wanted}) != len(wanted):
        raise _refused("An output is not one of the model, or is asked for twice; see the model's metadata.")


def _count_rows(request: V2Request, rows_max: int) -> int:
    shapes = {tensor.shape for tensor in request.inputs}
    if len(shapes) != 1 or any(len(shape) != 1 or shape[0] < 1 for shape in shapes):
        raise _refused("Every input has the shape [N], with the same N of at least 1.")
    ((rows,),) = shapes
    if rows > rows_max:
        raise TooLarge(ErrorCode.BODY_TOO_LARGE, "There are more rows than this server accepts in one request.")
    return rows


def _column(tensor: Tensor, rows: int) -> list[float]:
    if tensor.datatype != DATATYPE:
        raise _refused("An input has another datatype than the model's metadata says.")
    column = [value for value in tensor.data if isinstance(value, float | int)]
    if len(column) != rows or len(tensor.data) != rows:
        raise _refused("An input has more or fewer numbers than its shape says.")
    if not all(map(math.isfinite, column)):
        raise _refused("An input holds a number that is not finite.")
    return column


def _refused(words: str) -> BadRequest:
    return BadRequest(ErrorCode.INVALID_TENSOR, words)
