"""A published score held against the cells of a row: its number, its further parts, or that it must refuse."""

from collections.abc import Mapping

from gateway.features.manifest import ModelManifest
from gateway.registry.cells import CsvRow, number_of, tolerance_of
from gateway.scores import SCORES, Score
from gateway.scores.score import ScoreResult


def scores_of(manifest: ModelManifest) -> list[Score]:
    """Return the scores that may stand in for a model."""
    return [SCORES[spec.score] for spec in manifest.fallbacks if spec.score in SCORES]


def columns_of(score: Score) -> dict[str, str]:
    """Return the score's columns in its own vector files: column -> part of the answer, "" for its number."""
    return {**({score.vector_column: ""} if score.vector_column else {}), **score.text_columns}


def compare_score(score: Score, row: CsvRow, columns: Mapping[str, str]) -> str:
    """Compute a score from a row's cells and return what differs, "" for nothing.

    `columns`: column -> part of the answer, "" for its number. An empty expected cell means that the score must refuse.

    Raises:
        UnusableRow: a cell that must be a number is none.
    """
    names = [name for name in (*score.parameters, *score.optional) if name in row]
    inputs: dict[str, float | str] = {name: row[name] if name in score.texts else number_of(row[name]) for name in names}
    refused = not any(row[column] for column in columns)
    try:
        result = score.compute(inputs)
    except ValueError as refusal:
        return "" if refused else f"{score.name}: {refusal}"
    if refused:
        return f"{score.name} must refuse"
    return "; ".join(filter(None, (_compare_part(score, row, column, _part(result, part)) for column, part in columns.items())))


def _part(result: ScoreResult, part: str) -> float | str | None:
    return result.texts.get(part) if part else result.value


def _compare_part(score: Score, row: CsvRow, column: str, found: float | str | None) -> str:
    if found is None:
        return f"{score.name} gives nothing for {column}" if row[column] else ""
    if isinstance(found, str):
        return "" if found == row[column] else f"{score.name}: {column} is {found}"
    expected = number_of(row[column])
    # "not (difference <= tolerance)": an empty cell beside others that are filled is NaN, and differs
    return "" if abs(found - expected) <= tolerance_of(row, expected) else f"{score.name} differs by {abs(found - expected):.3g}"
