"""Rows that a release brings along: they may add concepts and codes, and may say nothing else about what is there already."""

import enum
from collections.abc import Iterable, Mapping

from gateway.terminology.concept import parse_age_limit
from gateway.terminology.table import ConceptRow, decode_concept_rows, decode_rows
from gateway.terminology.unit import parse_conversions


class TableKind(enum.StrEnum):
    """Which of the tables that a release may bring."""

    CODES = "codes"
    STEMS = "stems"


class TableRefused(ValueError):
    """A table that a release brings cannot be read, or contradicts another; `table` is its place among those of its kind, from 0."""

    def __init__(self, kind: TableKind, table: int, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.table = table


def with_extra_rows(known: Iterable[ConceptRow], tables: Iterable[bytes]) -> list[ConceptRow]:
    """Return the known rows and those of further tables. The same row may come from several tables, and counts once.

    Raises:
        TableRefused: a table is malformed, or a row says something else about a concept or a code than a row before it.
    """
    rows = list(known)
    elements = frozenset(row.element for row in rows)
    for place, table in enumerate(tables):
        try:
            brought = decode_concept_rows(table)
            for row in brought:
                _require_readable(row, elements)
            rows += _new_rows(rows, brought)
        except ValueError as error:
            raise TableRefused(TableKind.CODES, place, str(error)) from error
    return rows


def _new_rows(known: list[ConceptRow], brought: list[ConceptRow]) -> list[ConceptRow]:
    concepts: dict[str, ConceptRow] = {}
    codes: dict[tuple[str, str, str], ConceptRow] = {}
    for row in known:
        concepts.setdefault(row.concept, row)
        codes.setdefault(_key(row), row)
    added: list[ConceptRow] = []
    for row in brought:
        _require_same(row.concept, concept_facts(row), concept_facts(concepts.setdefault(row.concept, row)))
        same = codes.setdefault(_key(row), row)
        if same is row:
            added.append(row)
        else:
            _require_same(f"{row.concept} {row.code}", _code_facts(row), _code_facts(same))
    return added


def _key(row: ConceptRow) -> tuple[str, str, str]:
    return (row.concept, row.system, row.code)


def _require_readable(row: ConceptRow, elements: frozenset[str]) -> None:
    """Refuse a row that would mean nothing: it would be found out in front of a patient, as an absence."""
    if not (row.concept.strip() and row.system.strip() and row.code.strip()):
        raise ValueError(f"a row of {row.concept or 'no concept'} lacks concept, system or code")
    if row.element not in elements:
        raise ValueError(f"{row.concept} {row.code}: {row.element or 'nothing'} is no fhir_element of the packaged table")
    parse_conversions(row.conversions)
    for cell in row.staleness:
        parse_age_limit(cell)


def concept_facts(row: ConceptRow) -> Mapping[str, object]:
    """Return what every row of one concept must agree on: what kind of resource, unit, plausible range, time limits, fetch group."""
    return {
        "resource": row.element.partition(".")[0],
        "unit": row.unit,
        "plausible_min": row.low,
        "plausible_max": row.high,
        "staleness": tuple(parse_age_limit(cell) for cell in row.staleness),
        "group": row.group,
    }


def _code_facts(row: ConceptRow) -> Mapping[str, object]:
    return {"fhir_element": row.element, "conversions": parse_conversions(row.conversions)}


def _require_same(name: str, brought: Mapping[str, object], known: Mapping[str, object]) -> None:
    wrong = [fact for fact in brought if brought[fact] != known[fact]]
    if wrong:
        raise ValueError(f"{name} is known with another {', '.join(wrong)}")


STEM_COLUMNS = {"group", "stem", "place"}
STEM_PLACES = ("start", "word", "inside")


def with_extra_stems(known: Iterable[Mapping[str, str]], tables: Iterable[bytes]) -> list[tuple[str, str, str]]:
    """Return (group, stem, place) of the known rows and of further tables, each once.

    Raises:
        TableRefused: a table is malformed.
    """
    stems = dict.fromkeys(_stem(row) for row in known)
    for place, table in enumerate(tables):
        try:
            stems |= dict.fromkeys(_checked_stem(row) for row in decode_rows(table))
        except ValueError as error:
            raise TableRefused(TableKind.STEMS, place, str(error)) from error
    return list(stems)


def _stem(row: Mapping[str, str]) -> tuple[str, str, str]:
    return (row["group"], row["stem"], row["place"])


def _checked_stem(row: Mapping[str, str]) -> tuple[str, str, str]:
    if not row.keys() >= STEM_COLUMNS or not row["group"] or row["place"] not in STEM_PLACES:
        raise ValueError(f"a row of stems needs group, stem and place, which is one of {', '.join(STEM_PLACES)}")
    if row["stem"] != row["stem"].lower().strip() or not row["stem"]:
        raise ValueError(f"the stem {row['stem']!r} must be in lower case, without blanks around it")
    return _stem(row)
