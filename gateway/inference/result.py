"""What a run gives, and what is believed of it: a result is a number that applies, in range, or NaN that does not apply. Else it failed."""

import enum
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from gateway.errors import ModelRefused
from gateway.features.manifest import ModelManifest


class Device(enum.StrEnum):
    """Where a graph ran; the assessment maps it to its rung."""

    GPU = "gpu"
    CPU = "cpu"
    REMOTE = "remote"  # whatever the other server has


class RuntimeRefused(ModelRefused):
    """The runtime cannot take the graph, or the graph is not what the manifest says."""


class InferenceFailed(Exception):
    """A run gave no believable result: the caller steps down the ladder. `reason` is ours, from a closed set of words, and holds no PHI."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row: `values` by column of the manifest's outputs, NaN exactly where not `applicable`."""

    values: tuple[float, ...]
    applicable: tuple[bool, ...]
    device: Device
    runtime: str
    stepped_down: str = ""  # why a higher rung did not answer


Numbers = tuple[list[float], list[bool]]  # of one row: values by column, and which apply


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest promises of its graph.

    `inputs`: names in order, each a tensor [N], or all of them columns of `packed` [N, inputs]; `required`: those without which a graph
    that has no `applicable` is not run. `ranges`: by column of the result, what may be believed; None for a column nobody reads.
    """

    inputs: tuple[str, ...]
    required: tuple[int, ...]  # places in `inputs`
    packed: str | None
    element: Literal["float64", "float32"]
    variant: str | None  # int64 [N]
    result: str  # [N, columns] of `element`
    applicable: str | None  # bool [N, columns]
    ranges: tuple[tuple[float, float] | None, ...]
    variants: frozenset[int]

    @property
    def columns(self) -> int:
        """Return the number of columns that are read: up to the last output."""
        return len(self.ranges)

    def may_run(self, values: Sequence[float]) -> bool:
        """Tell whether a row may be run: a graph that does not poison itself never sees a required input that is absent (serving 0.7)."""
        return self.applicable is not None or not any(math.isnan(values[place]) for place in self.required)

    def withheld(self) -> Numbers:
        """Return what a row gives that may not be run: nothing applies."""
        return [math.nan] * self.columns, [False] * self.columns

    def not_run(self, device: Device, runtime: str) -> EngineResult:
        """Return the same as the result of a device that was not asked."""
        return believed(self, self.withheld(), device, runtime)


def signature_of(manifest: ModelManifest) -> Signature:
    """Return the signature a manifest promises.

    Raises:
        RuntimeRefused: two outputs have the same index, or a graph that says what applies has columns that are no output.
    """
    by_index = {output.index: (output.valid_range.low, output.valid_range.high) for output in manifest.outputs}
    columns = max(by_index, default=-1) + 1
    gaps = len(by_index) < columns and manifest.applicable_tensor is not None
    if len(by_index) < len(manifest.outputs) or not by_index or min(by_index) < 0 or gaps:
        raise RuntimeRefused("manifest.toml", "the outputs' indices are not 0, 1, 2 ...")
    return Signature(
        inputs=tuple(spec.tensor for spec in manifest.inputs),
        required=tuple(place for place, spec in enumerate(manifest.inputs) if not spec.optional),
        packed=manifest.packed_tensor,
        element=manifest.element,
        variant=manifest.variant_tensor,
        result=manifest.result_tensor,
        applicable=manifest.applicable_tensor,
        ranges=tuple(by_index.get(column) for column in range(columns)),
        variants=frozenset(variant.index for variant in manifest.variants),
    )


def checked_inputs(signature: Signature, tensors: Mapping[str, float], variant_index: int | None) -> list[float]:
    """Return the numbers in the order of the signature: every tensor given, none unknown, finite or NaN (absent).

    Raises:
        InferenceFailed: anything else.
    """
    if len(tensors) != len(signature.inputs):
        raise InferenceFailed("the inputs are not those of the model")
    try:
        values = [tensors[name] for name in signature.inputs]
        infinite = any(map(math.isinf, values))
    except (KeyError, TypeError):
        raise InferenceFailed("the inputs are not those of the model") from None
    if infinite:
        raise InferenceFailed("an input is infinite")
    if variant_index is None:
        if signature.variant is not None:
            raise InferenceFailed("the model needs a variant")
    elif signature.variant is None or variant_index not in signature.variants:
        raise InferenceFailed("the model has no such variant")
    return values


def believe(signature: Signature, values: Sequence[float], applicable: Sequence[bool]) -> None:
    """Check one row of a graph's outputs.

    Raises:
        InferenceFailed: a number does not apply, NaN applies, or a number is infinite or outside its valid range.
    """
    if not len(values) == len(applicable) == signature.columns:
        raise InferenceFailed("the graph gave another shape than it promised")
    for value, applies, valid in zip(values, applicable, signature.ranges, strict=True):
        if applies:
            if valid is None or not valid[0] <= value <= valid[1]:  # false for NaN, and the ranges are finite
                raise InferenceFailed("an output is not a number in its valid range")
        elif value == value:  # noqa: PLR0124 - the quickest test for "is not NaN"
            raise InferenceFailed("an output does not apply and still has a number")


def believed(signature: Signature, numbers: Numbers, device: Device, runtime: str) -> EngineResult:
    """Return a row's numbers as a result.

    Raises:
        InferenceFailed: see `believe`.
    """
    believe(signature, *numbers)
    values, applicable = numbers
    return EngineResult(values=tuple(values), applicable=tuple(applicable), device=device, runtime=runtime)
