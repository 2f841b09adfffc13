"""Test vectors: rows of inputs with the answer that an independent implementation gave, run through a model before it is served.

Columns: an input's tensor name (with its unit), or its concept with the unit in `<concept>_unit`; the manifest's `variant_column`; the
outputs' `vector_column`, and `published_column`, where an empty cell says nothing; `tolerance_abs` or `tolerance_rel` in each row. An empty
input is absent; an empty expected output must be withheld. A row that cannot be run fails; so does every row of a file with an expected
column that nobody compares.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.features.band import band_of
from gateway.features.manifest import InputSpec, ModelManifest, OutputSpec, SexAtAsOf, SiteSetting
from gateway.registry.cells import CsvRow, UnusableRow, number_of, tolerance_of
from gateway.registry.refusal import VectorsRefused
from gateway.registry.release import VECTORS, Release
from gateway.registry.score_columns import compare_score, scores_of
from gateway.terminology import Converted, Terminology

ROWS_MAX = 20_000
FAILURES_SHOWN = 5
_ROUNDED = "expected_rounded"  # of a measurement, as it is reported to people (half up)


class RowResult(Protocol):
    """What a run gives: by column of the manifest's outputs, NaN where not applicable."""

    @property
    def values(self) -> tuple[float, ...]:
        """Return the numbers."""
        ...

    @property
    def applicable(self) -> tuple[bool, ...]:
        """Return which of them may be used."""
        ...


RunRow = Callable[[Mapping[str, float], int | None], RowResult]


class RowFailure(msgspec.Struct, frozen=True):
    """A row that failed, by its name in the file, and why: our words, no inputs."""

    case_id: str
    reason: str


class VectorReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows belong to the model and which of them failed."""

    rows: int
    failures: tuple[RowFailure, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether there was a row, and none failed."""
        return self.rows > 0 and not self.failures

    @property
    def last_line(self) -> str:
        """Return the line with which every check ends."""
        return f"{self.rows - len(self.failures)} of {self.rows} rows within tolerance"


def read_rows(content: bytes) -> tuple[CsvRow, ...]:
    """Return the rows of a vector file.

    Raises:
        VectorsRefused: it is not a CSV file with a header and rows of its width, names a column twice, or has more than `ROWS_MAX` rows.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), restkey="", strict=True)
        rows = tuple(reader)
    except (UnicodeDecodeError, csv.Error):
        raise VectorsRefused(VECTORS, "is not a CSV file in UTF-8") from None
    names = reader.fieldnames or ()
    if len(set(names)) != len(names) or "" in names or len(rows) > ROWS_MAX:
        raise VectorsRefused(VECTORS, "has no header, a column without a name or named twice, or too many rows")
    if any("" in row or None in row.values() for row in rows):
        raise VectorsRefused(VECTORS, "a row is longer or shorter than the header")
    return rows


def check_vectors(release: Release, run: RunRow, terminology: Terminology, vectors: bytes | None = None) -> VectorReport:
    """Run every row of a main vector file (by default the release's own) and compare.

    Raises:
        VectorsRefused: the file cannot be read at all.
    """
    return check_main_rows(release.manifest, read_rows(release.vectors if vectors is None else vectors), run, terminology)


def require_vectors(release: Release, terminology: Terminology, run: RunRow) -> None:
    """Run the release's own vectors: the self-test an engine is given.

    Raises:
        VectorsRefused: a row fails, or there is none.
    """
    require_rows_without(release, terminology)
    report = check_vectors(release, run, terminology)
    if not report.passed:
        shown = "; ".join(f"{failure.case_id}: {failure.reason}" for failure in report.failures[:FAILURES_SHOWN])
        raise VectorsRefused(f"{release.manifest.name}/{release.manifest.version}/{VECTORS}", f"{report.last_line}. {shown}")


def require_rows_without(release: Release, terminology: Terminology) -> None:
    """Refuse a graph that does not poison itself and whose vectors do not show what it says without an optional input, and with it.

    Raises:
        VectorsRefused: names the input.
    """
    manifest = release.manifest
    if manifest.applicable_tensor is not None:
        return
    rows = read_rows(release.vectors)
    for spec in filter(lambda spec: spec.optional, manifest.inputs):
        absent = [math.isnan(input_of(spec, row, terminology)) for row in rows]
        for words, shown in (("without", any(absent)), ("with", not all(absent))):
            if not shown:
                raise VectorsRefused(VECTORS, f"no row shows what the model says {words} {spec.tensor}")


def check_main_rows(manifest: ModelManifest, rows: Sequence[CsvRow], run: RunRow, terminology: Terminology) -> VectorReport:
    """Run rows of inputs through the graph and compare every output."""
    row_check = _RowCheck(manifest, run, terminology)
    return report_rows(rows, row_check.check)


def report_rows(rows: Sequence[CsvRow], check: Callable[[CsvRow], str]) -> VectorReport:
    """Check row by row; `check` returns what is wrong ("" for nothing)."""
    failures = []
    for number, row in enumerate(rows, start=1):
        try:
            reason = check(row)
        except Exception as error:  # noqa: BLE001 - whatever a row does to the code under test, it is that row's failure
            reason = f"cannot be run: {error}" if isinstance(error, UnusableRow) else f"cannot be run: {type(error).__name__}"
        if reason:
            failures.append(RowFailure(row.get("case_id") or f"row {number}", reason))
    return VectorReport(rows=len(rows), failures=tuple(failures))


def input_of(spec: InputSpec, row: CsvRow, terminology: Terminology) -> float:
    """Return one input as the graph gets it: NaN where the cell is empty, or the column of an optional input is not there.

    Raises:
        UnusableRow: a required column is not there, or its cell cannot be read or converted.
    """
    if spec.tensor not in row:
        return _with_unit_column(spec, row, terminology)
    text = row[spec.tensor]
    if text in spec.words:
        return spec.words[text]
    if text and isinstance(spec.feature, SexAtAsOf | SiteSetting) and spec.feature.encoding:
        if text not in spec.feature.encoding:
            raise UnusableRow(f"{spec.tensor} is not one of the model's words")
        return spec.feature.encoding[text]
    return number_of(text)


def _with_unit_column(spec: InputSpec, row: CsvRow, terminology: Terminology) -> float:
    unit_column = f"{spec.concept}_unit"
    if spec.concept not in row or unit_column not in row:
        if spec.optional:
            return math.nan
        raise UnusableRow(f"there is no column for {spec.tensor}")
    value = number_of(row[spec.concept])
    if math.isnan(value):
        return value
    converted = terminology.convert(spec.concept, value, row[unit_column], coded=True)
    if not isinstance(converted, Converted):
        raise UnusableRow(f"{spec.concept} cannot be used: {converted.reason}")
    return converted.value


class _RowCheck:
    """Compares one row after the other with what the graph gives."""

    def __init__(self, manifest: ModelManifest, run: RunRow, terminology: Terminology) -> None:
        self._manifest = manifest
        self._run = run
        self._terminology = terminology
        self._variants = {variant.column_value or variant.name: variant.index for variant in manifest.variants}
        self._columns = {output.vector_column: output.index for output in manifest.outputs if output.vector_column}
        self._published = {output.published_column: output.index for output in manifest.outputs if output.published_column}
        self._texts = {column for output in manifest.outputs for column in (output.band_column, output.rate_column) if column}
        self._beside = {score.beside_column: score for score in scores_of(manifest) if score.beside_column}

    def check(self, row: CsvRow) -> str:
        """Return what is wrong with a row, "" for nothing."""
        expected = [name for name in row if name.startswith(("expected_", "fallback_expected_"))]
        known = {*self._columns, *self._published, *self._texts, *self._beside, _ROUNDED}
        not_compared = [name for name in expected if name not in known]
        missing = [name for name in self._columns if name not in row]
        if not_compared or missing:
            return f"cannot be run: columns that are not compared or not there: {', '.join([*not_compared, *missing])}"
        tensors = {spec.tensor: input_of(spec, row, self._terminology) for spec in self._manifest.inputs}
        result = self._run(tensors, self._variant_of(row))
        wrong = [self._compare(row, column, place, result) for column, place in self._columns.items()]
        wrong += [self._compare(row, column, place, result) for column, place in self._published.items() if row.get(column)]
        wrong += [self._compare_band(row, output, result) for output in self._manifest.outputs]
        wrong += [compare_score(score, row, {column: ""}) for column, score in self._beside.items() if column in row]
        return "; ".join(filter(None, [*wrong, self._compare_rounded(row, result)]))

    def _variant_of(self, row: CsvRow) -> int | None:
        if not self._variants:
            return None
        name = row.get(self._manifest.variant_column, "")
        if name not in self._variants:
            raise UnusableRow(f"{self._manifest.variant_column} names none of the model's variants")
        return self._variants[name]

    def _compare_band(self, row: CsvRow, output: OutputSpec, result: RowResult) -> str:
        """Compare the name of the band, and the rate observed in it, where the file has their columns."""
        columns = [column for column in (output.band_column, output.rate_column) if column in row]
        if not columns:
            return ""
        applies = {other.name: result.values[other.index] for other in self._manifest.outputs if result.applicable[other.index]}
        band = band_of(output, applies) if output.name in applies else None
        if output.band_column in columns and row[output.band_column] != (band.name if band else ""):
            return f"{output.band_column} differs"
        rate = band.observed_rate if band and band.observed_rate is not None else math.nan
        if output.rate_column in columns and number_of(row[output.rate_column]) != rate and (row[output.rate_column] or rate == rate):  # noqa: PLR0124 - NaN: no rate
            return f"{output.rate_column} differs"
        return ""

    def _compare(self, row: CsvRow, column: str, place: int, result: RowResult) -> str:
        value, applies = result.values[place], result.applicable[place]
        expected = number_of(row[column])
        if math.isnan(expected):
            return f"{column} must be withheld" if applies or not math.isnan(value) else ""
        if not applies:
            return f"{column} is withheld"
        return "" if abs(value - expected) <= tolerance_of(row, expected) else f"{column} differs by {abs(value - expected):.3g}"

    def _compare_rounded(self, row: CsvRow, result: RowResult) -> str:
        """A measurement is reported to people half up (data sheets: `floor(x + 0.5)`)."""
        if not row.get(_ROUNDED) or self._manifest.measurement is None:
            return f"cannot be run: nothing is rounded in {_ROUNDED}" if row.get(_ROUNDED) else ""
        if not result.applicable[0]:
            return f"{_ROUNDED} is withheld"
        scale = 10.0**self._manifest.measurement.decimals
        reported = math.floor(result.values[0] * scale + 0.5) / scale
        return "" if reported == number_of(row[_ROUNDED]) else f"{_ROUNDED} differs"
