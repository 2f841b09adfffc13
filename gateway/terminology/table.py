"""Reading the tables: CSV bytes in, typed rows out. A wrong table is an error at start, never a silent gap."""

import csv
import io
from collections.abc import Iterable
from importlib import resources

import msgspec

_DATA = "gateway.terminology.data"
TABLE_BYTES_MAX = 4_000_000


class ConceptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `concepts.csv`, or of a table a model brings along, in the same columns (`group` is optional there)."""

    concept: str
    element: str
    system: str
    code: str
    display: str
    unit: str
    conversions: str
    low: float | None
    high: float | None
    staleness: tuple[str, str, str]  # ed, inpatient, ambulatory
    group: str = ""


def load_rows(name: str) -> list[dict[str, str]]:
    """Load one packaged table as dictionaries by column name."""
    return decode_rows(resources.files(_DATA).joinpath(name).read_bytes())


def decode_concept_rows(table: bytes) -> list[ConceptRow]:
    """Decode a table in the columns of `concepts.csv`.

    Raises:
        ValueError: the table is too large, not UTF-8, lacks a column, or a limit is not a number.
    """
    if len(table) > TABLE_BYTES_MAX:
        raise ValueError("the concept table is too large")
    try:
        return [_concept_row(row) for row in decode_rows(table)]
    except KeyError as error:
        raise ValueError("the concept table lacks a column") from error


def decode_rows(table: bytes) -> list[dict[str, str]]:
    """Decode a CSV table into dictionaries by column name.

    Raises:
        ValueError: the table is not UTF-8, or a row is longer or shorter than the header.
    """
    rows = list(csv.DictReader(io.StringIO(table.decode("utf-8"), newline=""), restkey="", restval=None))
    if any("" in row or None in row.values() for row in rows):
        raise ValueError("a row is longer or shorter than the header")
    return rows


def _concept_row(row: dict[str, str]) -> ConceptRow:
    return ConceptRow(
        concept=row["concept"],
        element=row["fhir_element"],
        system=row["system"],
        code=row["code"],
        display=row["display"],
        unit=row["preferred_unit_ucum"],
        conversions=row["convertible_units_and_factor"],
        low=_number(row["plausible_min"]),
        high=_number(row["plausible_max"]),
        staleness=(row["staleness_ed"], row["staleness_inpatient"], row["staleness_ambulatory"]),
        group=row.get("group") or "",
    )


def _number(cell: str) -> float | None:
    return float(cell) if cell.strip() else None


def pairs(rows: Iterable[dict[str, str]], first: str, second: str) -> list[tuple[str, str]]:
    """Return two columns of a table."""
    return [(row[first], row[second]) for row in rows]
