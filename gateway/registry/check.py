"""`models check` and `terminology check`: any vector file against a release, decided by its columns.

    main           has the model's expected columns        -> the graph
    fallback       has a score's expected column           -> the score, where the manifest names it
    partial        has a lowest and a highest score        -> the range a model gives for missing inputs
    applicability  has `input_json`                        -> the same judgement as a record gets, and the graph agrees with it

A row that cannot be run fails; so does one with an expected column that nobody compares.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial

import msgspec

from gateway.features.manifest import ModelManifest
from gateway.quality.judge import after_run
from gateway.quality.report import QualityReport
from gateway.quality.stated import as_variant, report_for_stated
from gateway.registry.cells import CsvRow, UnusableRow, number_of, tolerance_of
from gateway.registry.refusal import VectorsRefused
from gateway.registry.release import VECTORS, Release
from gateway.registry.score_columns import columns_of, compare_score, scores_of
from gateway.registry.vectors import (
    RunRow,
    VectorReport,
    check_main_rows,
    read_rows,
    report_rows,
)
from gateway.scores import Score
from gateway.terminology import Converted, Terminology

SHIPPED = (VECTORS, "fallback_vectors.csv", "partial_vectors.csv", "applicability_vectors.csv")


class Kind(StrEnum):
    """What a vector file is about."""

    MAIN = "main"
    FALLBACK = "fallback"
    PARTIAL = "partial"
    APPLICABILITY = "applicability"


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """One file held against one release; `rows.last_line` ends the output."""

    model: str
    kind: Kind
    rows: VectorReport


def check_file(release: Release, content: bytes, run: RunRow, terminology: Terminology) -> CheckReport:
    """Run every row that belongs to the model.

    Raises:
        VectorsRefused: the file cannot be read, or is not a vector file of this model.
    """
    manifest = release.manifest
    rows = read_rows(content)
    kind = kind_of(manifest, frozenset(rows[0]) if rows else frozenset())
    own = tuple(row for row in rows if _belongs(manifest, row))
    if kind is Kind.MAIN:
        report = check_main_rows(manifest, own, run, terminology)
    else:
        report = report_rows(own, _checker(kind, manifest, run, terminology))
    return CheckReport(model=manifest.name, kind=kind, rows=report)


def _checker(kind: Kind, manifest: ModelManifest, run: RunRow, terminology: Terminology) -> Callable[[CsvRow], str]:
    if kind is Kind.APPLICABILITY:
        return _ApplicabilityCheck(manifest, run, terminology).check
    return partial(_compare_scores, manifest)


def check_shipped(release: Release, run: RunRow, terminology: Terminology) -> Mapping[str, CheckReport]:
    """Check every vector file that the release brings, by file name.

    Raises:
        VectorsRefused: a file cannot be read, or is not a vector file of this model.
    """
    return {name: check_file(release, release.files[name], run, terminology) for name in SHIPPED if name in release.files}


def kind_of(manifest: ModelManifest, columns: frozenset[str]) -> Kind:
    """Decide by its columns what a file is about.

    Raises:
        VectorsRefused: they are not those of any vector file of this model.
    """
    if "input_json" in columns:
        return Kind.APPLICABILITY
    if {"expected_score_min", "expected_score_max"} <= columns:
        return Kind.PARTIAL
    if any(output.vector_column in columns for output in manifest.outputs if output.vector_column):
        return Kind.MAIN
    if _scores_for(manifest, columns):
        return Kind.FALLBACK
    raise VectorsRefused(VECTORS, f"has no column that {manifest.name} or one of its fallbacks answers")


def _belongs(manifest: ModelManifest, row: CsvRow) -> bool:
    """Rows of files that hold several models name theirs, or one of its variants."""
    return "model_id" not in row or row["model_id"] in {manifest.name, *(variant.name for variant in manifest.variants)}


# --- a score that stands in -------------------------------------------------------------------------------------------------------


def _scores_for(manifest: ModelManifest, columns: frozenset[str]) -> list[Score]:
    return [score for score in scores_of(manifest) if columns.intersection(columns_of(score))]


def _compare_scores(manifest: ModelManifest, row: CsvRow) -> str:
    scores = _scores_for(manifest, frozenset(row))
    known = {column for score in scores for column in columns_of(score)}
    not_compared = sorted(name for name in row if name.startswith("expected_") and name not in known)
    if not_compared:
        return f"cannot be run: columns that are not compared: {', '.join(not_compared)}"
    return "; ".join(filter(None, (compare_score(score, row, _present(score, row)) for score in scores)))


def _present(score: Score, row: CsvRow) -> dict[str, str]:
    return {column: part for column, part in columns_of(score).items() if column in row}


# --- who may be scored ------------------------------------------------------------------------------------------------------------


class _ApplicabilityCheck:
    """Compares status, reason codes, available outputs and fallbacks, and lets the graph confirm the available outputs."""

    def __init__(self, manifest: ModelManifest, run: RunRow, terminology: Terminology) -> None:
        self._manifest = manifest
        self._run = run
        self._terminology = terminology

    def check(self, row: CsvRow) -> str:
        """Return what differs, "" for nothing."""
        judged = report_for_stated(self._manifest, _stated(row["input_json"]), self._terminology)
        report, disagreement = self._after_run(judged)
        found = as_variant(self._manifest, report, row.get("model_id", ""))
        pairs = (
            ("status", found.status, row["expected_status"]),
            ("reason codes", found.codes, _listed(row["expected_reason_codes"])),
            ("outputs", found.labels, _listed(row["expected_outputs_available"])),
            ("fallbacks", frozenset(found.fallbacks), _listed(row["expected_fallback"]) - {"none"}),
        )
        wrong = [f"{what}: {_words(got)} instead of {_words(expected)}" for what, got, expected in pairs if got != expected]
        return "; ".join(filter(None, [*wrong, disagreement]))

    def _after_run(self, judged: QualityReport) -> tuple[QualityReport, str]:
        """The graph poisons by itself: it must hold for available what the judgement holds for available, and nothing it withholds."""
        if not judged.available:
            return judged, ""
        tensors = {spec.tensor: judged.inputs[spec.name].tensor_value for spec in self._manifest.inputs}
        result = self._run(tensors, judged.variant_index)
        report = after_run(self._manifest, judged, result.applicable)
        applies = {output.name for output in self._manifest.outputs if result.applicable[output.index]}
        return report, "" if applies == set(report.available) else "the graph and the judgement disagree on what applies"


def _stated(text: str) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError:
        raise UnusableRow("input_json is not a JSON object") from None


def _listed(cell: str) -> frozenset[str]:
    return frozenset(filter(None, cell.split("|")))


def _words(value: str | frozenset[str]) -> str:
    return value if isinstance(value, str) else "|".join(sorted(value)) or "none"


# --- units ------------------------------------------------------------------------------------------------------------------------


def check_units(terminology: Terminology, content: bytes) -> VectorReport:
    """Hold a file of unit conversions against the terminology: identity, convert, alias or reject, and the converted number.

    Raises:
        VectorsRefused: the file cannot be read, or has other columns.
    """
    rows: Sequence[CsvRow] = read_rows(content)
    wanted = {"concept", "value_in", "unit_code_in", "canonical_unit", "expected_status", "expected_value"}
    if not rows or not wanted <= set(rows[0]):
        raise VectorsRefused("units vectors", "is not a file of unit conversions")
    return report_rows(rows, lambda row: _compare_unit(terminology, row))


def _compare_unit(terminology: Terminology, row: CsvRow) -> str:
    concept = terminology.concepts.get(row["concept"])
    if concept is None:
        return "cannot be run: the terminology does not know the concept"
    result = terminology.convert(row["concept"], number_of(row["value_in"]), row["unit_code_in"] or None, coded=True)
    if not isinstance(result, Converted):
        return "" if row["expected_status"] == "reject" else f"refused: {result.reason}"
    if result.kind != row["expected_status"]:
        return f"{result.kind} instead of {row['expected_status']}"
    if concept.unit != row["canonical_unit"]:
        return "the canonical unit differs"
    expected = number_of(row["expected_value"])
    return "" if abs(result.value - expected) <= tolerance_of(row, expected) else f"differs by {abs(result.value - expected):.3g}"
