"""A release as a worker gets it, with the rows by which every new one is tested: what the release's own vectors gave on the CPU."""

import hashlib
import math
from collections.abc import Sequence

import msgspec

from gateway.inference.result import InferenceFailed, Numbers, Signature, believe

GOLDEN_ROWS_MAX = 1000


class GoldenRow(msgspec.Struct, frozen=True):
    """A row in the order of the signature, and the numbers that passed the vectors."""

    values: list[float]
    variant: int | None
    numbers: Numbers


class TestedGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph, what is promised of it, and what it must give. `tolerance`: how far a device may be off, on the output's own scale."""

    __test__ = False  # no test class, whatever its name begins with

    name: str
    key: str
    signature: Signature
    graph: bytes
    golden: tuple[GoldenRow, ...]
    tolerance: float


def graph_key(signature: Signature, graph: bytes) -> str:
    """Return the key under which a worker holds a graph: by content, so that two releases of a model never meet."""
    return hashlib.sha256(graph + msgspec.json.encode(signature)).hexdigest()


def disagreement(tested: TestedGraph, found: Sequence[Numbers | str]) -> str:
    """Say how a device's golden rows differ from those that passed the vectors; empty: they agree within the tolerance."""
    if len(found) != len(tested.golden):
        return "the self-test gave another number of rows"
    for row, numbers in zip(tested.golden, found, strict=True):
        if isinstance(numbers, str):
            return f"the self-test failed: {numbers}"
        try:
            believe(tested.signature, *numbers)
        except InferenceFailed as failure:
            return f"the self-test failed: {failure.reason}"
        if not _agree(row.numbers, numbers, tested.tolerance):
            return "the self-test gave other numbers than the CPU at load"
    return ""


def _agree(expected: Numbers, found: Numbers, tolerance: float) -> bool:
    pairs = zip(expected[0], found[0], strict=True)
    return expected[1] == found[1] and all(math.isnan(one) or abs(one - other) <= tolerance for one, other in pairs)
