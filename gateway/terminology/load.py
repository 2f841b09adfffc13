"""Building the terminology from its tables, and from tables that models bring along."""

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import TypeVar

from gateway.fhir.group import Group
from gateway.terminology.code import Code
from gateway.terminology.concept import SETTINGS, AgeLimit, Concept, Setting, parse_age_limit
from gateway.terminology.extra import with_extra_rows, with_extra_stems
from gateway.terminology.medication import MedicationTable, build_names
from gateway.terminology.problem import IcdBlocks, ProblemTable, build_icd_blocks, build_stem_table
from gateway.terminology.table import ConceptRow, decode_concept_rows, load_rows, pairs
from gateway.terminology.terminology import CodeKey, Terminology
from gateway.terminology.unit import Conversion, UnitAlias, UnitTable, build_unit_table, parse_conversions

LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_Value = TypeVar("_Value")
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ICD_SYSTEMS = ("http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-9-cm")
# Systems whose displays name drugs: there, an unknown word may be an unknown ingredient.
DRUG_NAMING_SYSTEMS = frozenset(
    {
        RXNORM,
        "http://snomed.info/sct",
        "http://hl7.org/fhir/sid/ndc",
        "https://dmd.nhs.uk",
        "http://www.whocc.no/atc",
        "http://pbs.gov.au/code/item",
    }
)
CODED_UNIT = "(code)"


def load_terminology(extra_tables: Iterable[bytes] = (), extra_stems: Iterable[bytes] = ()) -> Terminology:
    """Load the packaged tables, plus what releases bring: rows in the columns of `concepts.csv`, and of `stems.csv`.

    Raises:
        TableRefused: one of the further tables is malformed, or contradicts what is known before it.
        ValueError: a packaged table is malformed, or one concept has two preferred units or ranges.
    """
    rows = with_extra_rows(decode_concept_rows(_packaged("concepts.csv")), extra_tables)
    stems = with_extra_stems(load_rows("stems.csv"), extra_stems)
    systems = {row["alias"]: row["canonical"] for row in load_rows("code_systems.csv")}
    concepts = _build_concepts(rows)
    observed = _with_aliases(_index(row for row in rows if _is_observed(row)), systems)
    return Terminology(
        systems=systems,
        concepts=concepts,
        observed=observed,
        measured=_without_containers(observed, concepts),
        valued=_with_aliases(_index(row for row in rows if not _is_observed(row) and "Observation" in row.element), systems),
        units=_build_units(rows, concepts),
        problems=_build_problems(rows, stems),
        medications=_build_medications(rows),
        settings=_with_aliases(
            {(system, row["code"]): row["setting"] for row in load_rows("encounter_settings.csv") for system in (ACT_CODE, "")}, systems
        ),
    )


def _packaged(name: str) -> bytes:
    return resources.files("gateway.terminology.data").joinpath(name).read_bytes()


def _is_observed(row: ConceptRow) -> bool:
    """Tell whether the code stands in Observation.code, not in a value."""
    return row.element.startswith("Observation")


def _is_problem(row: ConceptRow) -> bool:
    return row.element.startswith("Condition")


def _is_medication(row: ConceptRow) -> bool:
    return row.element.startswith("Medication")


def _build_concepts(rows: Iterable[ConceptRow]) -> dict[str, Concept]:
    listed = {row["concept"]: Group(row["group"]) for row in load_rows("observation_groups.csv")}
    by_name: dict[str, list[ConceptRow]] = {}
    for row in rows:
        by_name.setdefault(row.concept, []).append(row)
    return {name: _build_concept(name, found, listed) for name, found in by_name.items()}


def _build_concept(name: str, rows: list[ConceptRow], listed: Mapping[str, Group]) -> Concept:
    first = rows[0]
    if any(_is_observed(row) and (row.unit, row.low, row.high) != (first.unit, first.low, first.high) for row in rows):
        raise ValueError("one concept has two preferred units or plausible ranges")
    container = _is_observed(first) and not first.unit and not first.conversions and first.low is None
    return Concept(
        name=name,
        group=Group(first.group) if first.group else _group_of(first, listed),
        codes=tuple(Code(row.system, row.code, row.display) for row in rows),
        unit=None if not first.unit or first.unit == CODED_UNIT else first.unit,
        low=first.low,
        high=first.high,
        ages=_ages(first),
        container=container,
        coded=first.unit == CODED_UNIT,
    )


def _ages(row: ConceptRow) -> dict[Setting, AgeLimit]:
    return {setting: parse_age_limit(cell) for setting, cell in zip(SETTINGS, row.staleness, strict=True)}


def _group_of(row: ConceptRow, listed: Mapping[str, Group]) -> Group:
    if _is_observed(row):
        return listed.get(row.concept, Group.LABORATORY)
    if _is_problem(row):
        return Group.CONDITIONS
    return Group.MEDICATIONS if _is_medication(row) else Group.ENCOUNTERS


def _index(rows: Iterable[ConceptRow]) -> dict[CodeKey, tuple[str, ...]]:
    index: dict[CodeKey, tuple[str, ...]] = {}
    for row in rows:
        for code in row.code.split(","):
            names = index.get((row.system, code), ())
            if row.concept not in names:
                index[row.system, code] = tuple(sorted((*names, row.concept)))
    return index


def _with_aliases(index: Mapping[CodeKey, _Value], systems: Mapping[str, str]) -> dict[CodeKey, _Value]:
    """Add every alias of a code system as a key of its own, so that a look-up is one step."""
    aliases: dict[str, list[str]] = {}
    for alias, canonical in systems.items():
        aliases.setdefault(canonical, []).append(alias)
    return {(name, code): value for (system, code), value in index.items() for name in (system, *aliases.get(system, ()))}


def _without_containers(
    observed: Mapping[CodeKey, tuple[str, ...]], concepts: Mapping[str, Concept]
) -> dict[tuple[str | None, str | None], tuple[str, ...]]:
    kept = {key: tuple(name for name in names if not concepts[name].container) for key, names in observed.items()}
    return {key: names for key, names in kept.items() if names}


def _build_units(rows: Iterable[ConceptRow], concepts: Mapping[str, Concept]) -> UnitTable:
    conversions: dict[str, dict[str, Conversion]] = {}
    for row in rows:
        if _is_observed(row):
            conversions.setdefault(row.concept, {}).update(parse_conversions(row.conversions))
    aliases = {row["alias"]: UnitAlias(row["ucum"], row["text_only"] == "yes") for row in load_rows("unit_aliases.csv")}
    return build_unit_table(concepts.values(), conversions, aliases)


def _build_problems(rows: Iterable[ConceptRow], stems: Iterable[tuple[str, str, str]]) -> ProblemTable:
    problems = [row for row in rows if _is_problem(row)]
    icd: dict[str, IcdBlocks] = {
        system: build_icd_blocks((row.concept, row.code) for row in problems if row.system == system) for system in ICD_SYSTEMS
    }
    possible = load_rows("possible_codes.csv")
    return ProblemTable(
        exact=_index(row for row in problems if row.system not in ICD_SYSTEMS),
        icd=icd,
        stems=build_stem_table(stems, pairs(load_rows("stem_exclusions.csv"), "group", "phrase")),
        possible_exact={
            (row["system"], code): (row["group"],)
            for row in possible
            if row["system"] not in ICD_SYSTEMS
            for code in row["codes"].split(",")
        },
        possible_icd={
            system: build_icd_blocks((row["group"], row["codes"]) for row in possible if row["system"] == system) for system in ICD_SYSTEMS
        },
    )


def _build_medications(rows: Iterable[ConceptRow]) -> MedicationTable:
    medications = [row for row in rows if _is_medication(row)]
    ingredients: dict[str, tuple[str, ...]] = {row["name"]: (row["group"],) if row["group"] else () for row in load_rows("ingredients.csv")}
    named: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in ingredients]
    named += [(row["spelling"], tuple(row["ingredients"].split(";"))) for row in load_rows("ingredient_spellings.csv")]
    named += [(row["brand"], tuple(row["ingredients"].split(";"))) for row in load_rows("brands.csv")]
    words = load_rows("medication_words.csv")
    table = MedicationTable(
        groups=ingredients,
        by_code={},
        code_groups=_index(medications),
        names=build_names(named),
        words=frozenset(row["word"] for row in words),
        local_words=frozenset(row["word"] for row in words if row["kind"] == "local"),
        naming_systems=DRUG_NAMING_SYSTEMS,
    )
    return _with_codes(table, medications)


def _with_codes(table: MedicationTable, medications: Iterable[ConceptRow]) -> MedicationTable:
    """Map each listed code to the ingredients its own display names.

    Raises:
        ValueError: a listed medication names no ingredient the table knows.
    """
    by_code = {(row.system, row.code): table.read_name(row.display).ingredients for row in medications}
    if not all(by_code.values()):
        raise ValueError("a listed medication code names no known ingredient")
    return MedicationTable(
        groups=table.groups,
        by_code=by_code,
        code_groups=table.code_groups,
        names=table.names,
        words=table.words,
        local_words=table.local_words,
        naming_systems=table.naming_systems,
    )
