"""The values of a patient's record after reading: frozen, typed, with the raw number, unit, time and source of everything.

Times are aware UTC instants with the precision they were given in. Nothing here is judged: staleness, completeness and plausibility
belong to later rooms; here stands only what was said, by which resource, and what could not be used.
"""

import datetime as dt
import enum
from collections.abc import Mapping

import msgspec

from gateway.fhir.group import Group, GroupState
from gateway.terminology.code import Code

__all__ = [
    "Code",
    "Dropped",
    "FhirTime",
    "Measurement",
    "MedicationOrder",
    "PatientFacts",
    "PatientRecord",
    "Precision",
    "Problem",
    "SourceRef",
    "Stay",
]


class Precision(enum.StrEnum):
    """How exactly a FHIR date or dateTime was given."""

    YEAR = "year"
    MONTH = "month"
    DAY = "day"
    INSTANT = "instant"


class FhirTime(msgspec.Struct, frozen=True, gc=False):  # gc=False: many per record, and none can be part of a cycle
    """A FHIR date, dateTime, instant or one end of a Period: its first instant (rules 3), precision and text as received."""

    at: dt.datetime
    precision: Precision
    text: str

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("an instant needs a time zone")


class SourceRef(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The resource a value came from.

    `version` is `meta.versionId` as received and never invented; without one, `sha256` is the hex digest of the resource's bytes.
    """

    resource_type: str
    id: str
    version: str | None = None
    sha256: str | None = None

    @property
    def reference(self) -> str:
        """Return the relative reference, versioned where a version is known."""
        base = f"{self.resource_type}/{self.id}"
        return f"{base}/_history/{self.version}" if self.version else base


class Measurement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An Observation's value, or the value of one of its components, for a concept that some model may read.

    `concepts` are the names of codes.csv that the codings belong to. Exactly one of value / value_codes / value_text is set, or
    none where the value is absent (`absent_reason`). `value` and `unit` are as received; conversion happens in `features`.
    `usable_status` is False for preliminary, registered, cancelled, entered-in-error, unknown.
    """

    source: SourceRef
    concepts: tuple[str, ...]
    codes: tuple[Code, ...]
    status: str
    usable_status: bool
    time: FhirTime | None
    issued: FhirTime | None = None
    value: float | None = None
    unit: str | None = None  # UCUM code where given, else the unit's text
    unit_text: str | None = None
    unit_coded: bool = False  # the unit was given as a code of the UCUM system
    comparator: str | None = None
    value_codes: tuple[Code, ...] = ()
    value_text: str | None = None
    absent_reason: str | None = None
    encounter_id: str | None = None
    reference_high: float | None = None
    reference_low: float | None = None
    component: bool = False


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A Condition (or, with `procedure`, a Procedure). `active` follows clinicalStatus; absent status counts as active.

    `groups` are the condition groups of codes.csv it belongs to by code or ICD block; `possible_groups` those it could belong to by
    a stem in its text, or because it has neither code display nor text (rules 3). Refuted and entered-in-error ones never get here.
    """

    source: SourceRef
    codes: tuple[Code, ...]
    text: str
    groups: frozenset[str]
    possible_groups: frozenset[str] = frozenset()
    active: bool = True
    confirmed: bool = True  # False for provisional, differential, unconfirmed
    onset: FhirTime | None = None
    abated: FhirTime | None = None
    recorded: FhirTime | None = None
    procedure: bool = False


class MedicationOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A MedicationRequest or MedicationStatement and the ingredients recognised in it.

    `groups` are the medication groups (statin, antihypertensive, ...) of its ingredients. `recognised` is True when the product is
    known well enough to say which ingredients it holds, so that "not of this group" may be concluded; False leaves that open.
    """

    source: SourceRef
    codes: tuple[Code, ...]
    text: str
    ingredients: tuple[str, ...]
    groups: frozenset[str]
    recognised: bool
    active: bool
    status: str
    authored: FhirTime | None = None
    ended: FhirTime | None = None


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """An Encounter: class code, and the care setting it means (`ed`, `inpatient`, `ambulatory`, or None when unknown).

    `priority`: the codes of how urgent the admission was, as given.
    """

    source: SourceRef
    status: str
    setting: str | None
    class_code: str = ""
    priority: tuple[str, ...] = ()
    start: FhirTime | None = None
    end: FhirTime | None = None


class PatientFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the Patient resource says, as far as models and safety need it.

    `gender` is Patient.gender as given (None when absent); `recorded_sexes` and `sex_parameter` hold the extensions, see rules 4.
    `deceased_at` is set when a time is known; `deceased` when the fact is.
    """

    source: SourceRef
    gender: str | None = None
    sex_parameter: str | None = None
    recorded_sexes: tuple[str, ...] = ()
    birth_date: FhirTime | None = None
    deceased: bool = False
    deceased_at: FhirTime | None = None
    replaced: bool = False
    active: bool = True


class Dropped(msgspec.Struct, frozen=True, order=True):
    """A resource, or one of its elements, that is not used, and why. `resource` is `Type/id`, or `Type/?` without an id."""

    resource: str
    reason: str


class PatientRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known about one patient, in no particular order of the source: sorted by (time, resource id), newest first."""

    patient: PatientFacts
    measurements: tuple[Measurement, ...] = ()
    problems: tuple[Problem, ...] = ()
    medications: tuple[MedicationOrder, ...] = ()
    stays: tuple[Stay, ...] = ()
    groups: Mapping[Group, GroupState] = {}
    dropped: tuple[Dropped, ...] = ()
    base_url: str | None = None

    def group_state(self, group: Group) -> GroupState:
        """Return how a group arrived; a group nobody asked for was not searched."""
        return self.groups.get(group, GroupState.NOT_SEARCHED)
