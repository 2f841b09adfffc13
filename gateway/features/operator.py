"""How an input is found in a record: one operator each, as a manifest declares it. What each does stands in the module of that operator."""

from collections.abc import Mapping
from typing import Literal

import msgspec


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword-only, and refuses keys it does not know."""


class Coding(Strict, frozen=True, kw_only=True):
    """A coded concept of an answer, or one that an operator looks for."""

    system: str
    code: str
    display: str


class Age(Strict, frozen=True, kw_only=True, tag_field="operator", tag="age"):
    """Completed years at the as-of time."""


class SexAtAsOf(Strict, frozen=True, kw_only=True, tag_field="operator", tag="sex"):
    """Sex for clinical use by rules 4, encoded as a number: `encoding = {female = 0, male = 1}`."""

    encoding: Mapping[str, float]


class Newest(Strict, frozen=True, kw_only=True, tag_field="operator", tag="newest"):
    """The newest usable value of one concept."""

    concept: str


class NewestPair(Strict, frozen=True, kw_only=True, tag_field="operator", tag="newest_pair"):
    """The value of `concept` from the newest calendar date on which `partner` also has a usable value."""

    concept: str
    partner: str


class MeanOfNewest(Strict, frozen=True, kw_only=True, tag_field="operator", tag="mean_of_newest"):
    """The mean of up to `count` newest usable values within the look-back.

    `outpatient_only` leaves out readings taken in an ED or inpatient stay, and adds CAUTION where one's setting is not known (rules 4).
    """

    concept: str
    count: int
    outpatient_only: bool = False


class Quotient(Strict, frozen=True, kw_only=True, tag_field="operator", tag="quotient"):
    """`factor * numerator / denominator ** power`, each the newest usable value: BMI = 10000 * kg / cm**2."""

    numerator: str
    denominator: str
    power: int = 1
    factor: float = 1.0
    denominator_age_days_max: int | None = None


class CodedCategory(Strict, frozen=True, kw_only=True, tag_field="operator", tag="coded_category"):
    """The newest Observation of `concept` whose code falls into one of the code groups: `values = {smoking_current = 1}`.

    A code of a group in `unknown` counts as missing; a code in no group at all counts as missing and is listed.
    """

    concept: str
    values: Mapping[str, float]
    unknown: tuple[str, ...] = ()


class ConditionPresent(Strict, frozen=True, kw_only=True, tag_field="operator", tag="condition"):
    """1 when a Condition of `group` is recorded, 0 only by the absence rule (rules 3).

    `scope`: `active` (also recurrence, relapse), or `ever` (also resolved). `within_days`: only onset or recording in that window counts.
    `not_groups` never count (prediabetes). `procedures`: Procedures count as well.
    `unconfirmed`: the INCONSISTENT subject when a record could belong to the group by its words only; without it the input is missing.
    """

    group: str
    scope: Literal["active", "ever"] = "active"
    within_days: int | None = None
    not_groups: tuple[str, ...] = ()
    procedures: bool = False
    unconfirmed: str | None = None


class CurrentMedication(Strict, frozen=True, kw_only=True, tag_field="operator", tag="medication"):
    """1 when a current order holds an ingredient of `group`, 0 only by the absence rule; ordered at most `authored_days_max` ago."""

    group: str
    authored_days_max: int = 365


class ModelOutput(Strict, frozen=True, kw_only=True, tag_field="operator", tag="model_output"):
    """Another model's output for the same patient and as-of time, unrounded; its lineage and reasons come along."""

    model: str
    output: str


class NotRecorded(Strict, frozen=True, kw_only=True, tag_field="operator", tag="not_recorded"):
    """An input of the published model that no record holds and nobody may state for all patients at once: always absent."""


class SiteSetting(Strict, frozen=True, kw_only=True, tag_field="operator", tag="site_setting"):
    """A value the hospital states under the name `setting`, never read from the record and without a default.

    `encoding`: the words that may be stated and their numbers; without one, a number is stated. Where nothing usable is stated the input
    is missing (CONFIG_MISSING:<input>), which an optional input bears in silence.
    """

    setting: str
    encoding: Mapping[str, float] = {}


class ProceduresCounted(Strict, frozen=True, kw_only=True, tag_field="operator", tag="procedures_counted"):
    """1 when at least `count_min` Procedures with one of `codes` lie within `within_days`, 0 only by the absence rule.

    An entry of `doubt_group` (dialysis dependence without a session on record) keeps anyone from concluding 0.
    """

    codes: tuple[Coding, ...]
    count_min: int
    within_days: int
    doubt_group: str


class ReferenceLimit(Strict, frozen=True, kw_only=True, tag_field="operator", tag="reference_limit"):
    """The upper (or lower) limit of normal that stands with the newest usable value of `concept`, in its unit."""

    concept: str
    end: Literal["high", "low"] = "high"


class Threshold(Strict, frozen=True, kw_only=True, tag_field="operator", tag="threshold"):
    """1 when the newest usable value of `concept` lies above `above` (or below `below`), else 0.

    So a flow says "on oxygen", and a Glasgow coma score "not alert".
    """

    concept: str
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if (self.above is None) is (self.below is None):
            raise ValueError("a threshold is either above or below")


class NightsOfStay(Strict, frozen=True, kw_only=True, tag_field="operator", tag="nights_of_stay"):
    """Midnights passed in the index stay."""


class UrgentStay(Strict, frozen=True, kw_only=True, tag_field="operator", tag="urgent_stay"):
    """1 when the index stay's priority is one of `urgent`, or it followed from a visit of `emergency_class`; 0 for one of `elective`."""

    urgent: tuple[str, ...]
    elective: tuple[str, ...]
    emergency_class: str


class StaysCounted(Strict, frozen=True, kw_only=True, tag_field="operator", tag="stays_counted"):
    """How many Encounters of `classes` ended in the `within_days` before the index stay; `without_index`: not the one it followed from."""

    classes: tuple[str, ...]
    within_days: int
    without_index: bool = False


class NewestInStay(Strict, frozen=True, kw_only=True, tag_field="operator", tag="newest_in_stay"):
    """The newest usable value of `concept` in the index stay; longer than `hours_before_end_max` before its end: CAUTION:early."""

    concept: str
    hours_before_end_max: float


class ProcedureInStay(Strict, frozen=True, kw_only=True, tag_field="operator", tag="procedure_in_stay"):
    """1 when any Procedure was done in the index stay, 0 only by the absence rule."""


class LatestOf(Strict, frozen=True, kw_only=True, tag_field="operator", tag="latest_of"):
    """Of several ways to record the same thing the one with the newest usable value; of one time, the highest number."""

    options: tuple["SimpleFeature", ...]


class FirstOf(Strict, frozen=True, kw_only=True, tag_field="operator", tag="first_of"):
    """The first option that gives a usable value, in order of preference; `cautions[i]` is added when option i answers ("" = none)."""

    options: tuple["SimpleFeature", ...]
    cautions: tuple[str, ...] = ()


SimpleFeature = (
    Age
    | SexAtAsOf
    | Newest
    | NewestPair
    | MeanOfNewest
    | Quotient
    | CodedCategory
    | ConditionPresent
    | CurrentMedication
    | ModelOutput
    | NotRecorded
    | SiteSetting
    | ReferenceLimit
    | ProceduresCounted
    | Threshold
    | NightsOfStay
    | UrgentStay
    | StaysCounted
    | NewestInStay
    | ProcedureInStay
)
Choice = FirstOf | LatestOf  # several ways to the same input
Feature = SimpleFeature | Choice
