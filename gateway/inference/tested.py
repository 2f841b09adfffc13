"""A release as a worker gets it, with the rows by which every new one is tested: what the release's own vectors gave on the CPU."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import msgspec

from gateway.inference.result import InferenceFailed, Numbers, Signature, believe

GOLDEN_ROWS_MAX = 1000
SELF_TEST_S = 0.5  # about so long may a self-test take: a worker that is replaced passes it first


class GoldenRow(msgspec.Struct, frozen=True):
    """A row in the order of the signature, and the numbers that passed the vectors."""

    values: list[float]
    variant: int | None
    numbers: Numbers


class TestedGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph, what is promised of it, and what it must give.

    `golden`: rows of the vectors, as many as can be run in half a second. `rows_max`: how many rows may run together, so that a run stays
    far below the time after which a worker counts as hung.
    `tolerance`: how far a device may be off, on the output's own scale.
    """

    __test__ = False  # no test class, whatever its name begins with

    name: str
    key: str
    signature: Signature
    graph: bytes
    golden: tuple[GoldenRow, ...]
    rows_max: int
    tolerance: float

    def pieces(self) -> Iterator[tuple[GoldenRow, ...]]:
        """Yield the golden rows as they are asked for: as many at once as may run together, over and over if there are fewer.

        So each self-test shows that rows are kept apart, too, in runs as large as any that are served.
        """
        rows = self.golden * (-(-self.rows_max // len(self.golden))) if self.golden else ()
        for start in range(0, len(rows), self.rows_max):
            yield rows[start : start + self.rows_max]


def chosen_rows(rows: Sequence[GoldenRow], seconds_of_a_row: float) -> tuple[GoldenRow, ...]:
    """Return rows spread over all that passed, so many that a self-test stays short."""
    count = max(1, min(len(rows), GOLDEN_ROWS_MAX, int(SELF_TEST_S / seconds_of_a_row)))
    places = [place * len(rows) // count for place in range(count)] if rows else []
    return tuple(rows[place] for place in places)


def rows_at_once(golden: Sequence[GoldenRow], seconds_of_a_row: float, rows_max: int, run_s_max: float) -> int:
    """Return how many rows may run together: they take a quarter of the time after which a worker counts as hung.

    No more than one where only one row is known: nothing then shows that rows are kept apart.
    """
    return max(1, min(rows_max, int(run_s_max / 4 / seconds_of_a_row))) if sum(any(row.numbers[1]) for row in golden) > 1 else 1


def graph_key(signature: Signature, graph: bytes) -> str:
    """Return the key under which a worker holds a graph: by content, so that two releases of a model never meet."""
    return hashlib.sha256(graph + msgspec.json.encode(signature)).hexdigest()


def disagreement(tested: TestedGraph, piece: Sequence[GoldenRow], found: Sequence[Numbers | str]) -> str:
    """Say how a device's golden rows differ from those that passed the vectors; empty: they agree within the tolerance."""
    if len(found) != len(piece):
        return "the self-test gave another number of rows"
    for row, numbers in zip(piece, found, strict=True):
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
