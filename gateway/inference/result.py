"""What a run gives, and what is believed of it: a result is a number that applies, in range, or NaN that does not apply. Else it failed."""

import enum
import math
from collections.abc import Mapping, Sequence

import msgspec

from gateway.errors import ModelRefused
from gateway.features.manifest import ModelManifest


class Device(enum.StrEnum):
    """Where a graph ran; the assessment maps it to its rung."""

    GPU = "gpu"
    CPU = "cpu"


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


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest promises of its graph: names of the float64 inputs [N], of the int64 variant [N], of both outputs [N, columns]."""

    inputs: tuple[str, ...]
    variant: str | None
    result: str
    applicable: str
    ranges: tuple[tuple[float, float], ...]  # by column: what may be believed
    variants: frozenset[int]

    @property
    def columns(self) -> int:
        """Return the number of outputs."""
        return len(self.ranges)


def signature_of(manifest: ModelManifest) -> Signature:
    """Return the signature a manifest promises.

    Raises:
        RuntimeRefused: the outputs' indices are not 0, 1, 2 ...
    """
    ordered = sorted(manifest.outputs, key=lambda output: output.index)
    if [output.index for output in ordered] != list(range(len(ordered))) or not ordered:
        raise RuntimeRefused("manifest.toml", "the outputs' indices are not 0, 1, 2 ...")
    return Signature(
        inputs=tuple(spec.tensor for spec in manifest.inputs),
        variant=manifest.variant_tensor,
        result=manifest.result_tensor,
        applicable=manifest.applicable_tensor,
        ranges=tuple((output.valid_range.low, output.valid_range.high) for output in ordered),
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
    for value, applies, (low, high) in zip(values, applicable, signature.ranges, strict=True):
        if applies:
            if not low <= value <= high:  # false for NaN, and the ranges are finite
                raise InferenceFailed("an output is not a number in its valid range")
        elif value == value:  # noqa: PLR0124 - the quickest test for "is not NaN"
            raise InferenceFailed("an output does not apply and still has a number")
