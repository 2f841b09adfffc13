"""The cells of a vector file: text that is a finite number, nothing, or cannot be used."""

import math
from collections.abc import Mapping

CsvRow = Mapping[str, str]


class UnusableRow(Exception):
    """A row cannot be run."""


def number_of(text: str) -> float:
    """Return a cell's number, NaN for an empty cell.

    Raises:
        UnusableRow: it is neither empty nor a finite number.
    """
    if not text:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise UnusableRow("a cell is not a finite number")
    return number


def tolerance_of(row: CsvRow, expected: float) -> float:
    """Return the allowed difference, from `tolerance_abs` or `tolerance_rel`.

    Raises:
        UnusableRow: the row states neither.
    """
    absolute, relative = (number_of(row.get(column, "")) for column in ("tolerance_abs", "tolerance_rel"))
    tolerance = absolute if not math.isnan(absolute) else relative * abs(expected)
    if not tolerance >= 0:
        raise UnusableRow("the row states no tolerance")
    return tolerance
