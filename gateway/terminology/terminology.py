"""The one object through which every room asks about codes, units, conditions and medications."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from gateway.terminology.code import Code
from gateway.terminology.concept import Concept
from gateway.terminology.medication import MedicationFacts, MedicationTable
from gateway.terminology.problem import ProblemTable
from gateway.terminology.unit import Converted, Refused, UnitTable

CodeKey = tuple[str, str]  # system as received (aliases are keys too), code


class Terminology(msgspec.Struct, frozen=True, kw_only=True):
    """Codes, units, conditions and medications, loaded once and never changed. See the package for how to build one."""

    systems: Mapping[str, str]  # alias -> canonical URL
    concepts: Mapping[str, Concept]
    observed: Mapping[CodeKey, tuple[str, ...]]
    measured: Mapping[tuple[str | None, str | None], tuple[str, ...]]  # `observed` without containers, keyed as codings are received
    valued: Mapping[CodeKey, tuple[str, ...]]
    units: UnitTable
    problems: ProblemTable
    medications: MedicationTable
    settings: Mapping[CodeKey, str]

    def narrowed_to(self, concepts: AbstractSet[str]) -> "Terminology":
        """Return the same tables for a reader of few concepts: codes of others measure nothing to it."""
        measured = {key: tuple(name for name in names if name in concepts) for key, names in self.measured.items()}
        return msgspec.structs.replace(self, measured={key: names for key, names in measured.items() if names})

    def canonical_system(self, system: str) -> str:
        """Return the canonical URL of a code system; an unknown one stays as it is."""
        return self.systems.get(system, system)

    def concepts_of(self, system: str, code: str) -> tuple[str, ...]:
        """Return the concepts an Observation (or component) with this code measures; none for a code nobody reads."""
        return self.observed.get((system, code), ())

    def code_group(self, system: str, code: str) -> tuple[str, ...]:
        """Return the groups a coded value belongs to, such as `smoking_current`."""
        return self.valued.get((system, code), ())

    def concept(self, name: str) -> Concept:
        """Return the concept or code group of that name.

        Raises:
            KeyError: the tables have no such concept.
        """
        return self.concepts[name]

    def codes_for(self, concept_name: str) -> tuple[Code, ...]:
        """Return the codes by which a concept is asked for (blocks such as `I20-I25` are given as written).

        Raises:
            KeyError: the tables have no such concept.
        """
        return self.concepts[concept_name].codes

    def convert(self, concept: str, value: float, unit: str | None, *, coded: bool) -> Converted | Refused:
        """Return the number in the concept's preferred unit, or why it is refused. `coded`: the unit came as a UCUM code.

        Raises:
            KeyError: the tables have no such concept.
        """
        return self.units.convert(self.concepts[concept], value, unit, coded=coded)

    def problem_groups(self, codes: Sequence[Code], text: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return (groups a condition or procedure belongs to, groups it could belong to by its words or for lack of any)."""
        return self.problems.place(codes, text)

    def medication(self, codes: Sequence[Code], text: str) -> MedicationFacts:
        """Return ingredients and groups of a product, and whether it is known well enough to say what it does not hold."""
        return self.medications.place(codes, text)

    def care_setting(self, system: str, code: str) -> str | None:
        """Return `ed`, `inpatient` or `ambulatory` for an Encounter class, None for one that says nothing about it.

        A class without a system is read as one of FHIR's own value set (R4 Encounter.class, v3 ActCode): an open stay must not go unseen.
        """
        return self.settings.get((system, code))
