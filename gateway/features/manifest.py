"""The manifest: a model as data. Which inputs it reads and how, for whom it is made, what it says, and what stands in for it.

One `manifest.toml` per release is decoded into `ModelManifest`; an unknown key is an error that names its place. No model needs Python of
its own: a feature is an operator with parameters. Durations are days (`age_days_max`), because the data sheets state them so.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Setting = Literal["ed", "inpatient", "ambulatory"]
Sex = Literal["female", "male"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword-only, and refuses keys it does not know."""


# --- how an input is found in the record: one operator each -----------------------------------------------------------------------


class Age(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="age"):
    """Completed years at the as-of time."""


class SexAtAsOf(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="sex"):
    """Sex for clinical use by rules 4, encoded as a number: `encoding = {female = 0, male = 1}`."""

    encoding: Mapping[str, float]


class Newest(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="newest"):
    """The newest usable value of one concept."""

    concept: str


class NewestPair(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="newest_pair"):
    """The value of `concept` from the newest calendar date on which `partner` also has a usable value."""

    concept: str
    partner: str


class MeanOfNewest(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="mean_of_newest"):
    """The mean of up to `count` newest usable values within the look-back.

    `outpatient_only` leaves out readings taken in an ED or inpatient stay, and adds CAUTION where one's setting is not known (rules 4).
    """

    concept: str
    count: int
    outpatient_only: bool = False


class Quotient(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="quotient"):
    """`factor * numerator / denominator ** power`, each the newest usable value: BMI = 10000 * kg / cm**2."""

    numerator: str
    denominator: str
    power: int = 1
    factor: float = 1.0
    denominator_age_days_max: int | None = None


class CodedCategory(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="coded_category"):
    """The newest Observation of `concept` whose code falls into one of the code groups: `values = {smoking_current = 1}`.

    A code of a group in `unknown` counts as missing; a code in no group at all counts as missing and is listed.
    """

    concept: str
    values: Mapping[str, float]
    unknown: tuple[str, ...] = ()


class ConditionPresent(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="condition"):
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


class CurrentMedication(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="medication"):
    """1 when a current order holds an ingredient of `group`, 0 only by the absence rule; ordered at most `authored_days_max` ago."""

    group: str
    authored_days_max: int = 365


class ModelOutput(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="model_output"):
    """Another model's output for the same patient and as-of time, unrounded; its lineage and reasons come along."""

    model: str
    output: str


class NotRecorded(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="not_recorded"):
    """An input of the published model that no record holds and nobody may state for all patients at once: always absent."""


class SiteSetting(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="site_setting"):
    """A value the hospital states under the name `setting`, never read from the record and without a default.

    Where nothing is stated the input is missing: `InputState.MISSING`, which an optional input bears in silence.
    """

    setting: str


class FirstOf(_Strict, frozen=True, kw_only=True, tag_field="operator", tag="first_of"):
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
)
Feature = SimpleFeature | FirstOf


# --- inputs, outputs, eligibility -------------------------------------------------------------------------------------------------


class Range(_Strict, frozen=True, kw_only=True):
    """A closed interval. `only_for` names the outputs it binds; empty = all outputs that need the input."""

    low: float
    high: float
    only_for: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError("a range needs low <= high")

    def holds(self, value: float) -> bool:
        """Tell whether the value lies inside, ends included."""
        return self.low <= value <= self.high


class InputSpec(_Strict, frozen=True, kw_only=True):
    """One input of the graph.

    `name`: in reason codes and in `record show`; `tensor`: in the graph and in vector files; `concept`: the concept or group of codes.csv
    it is about. `age_days_max`: hard limit per care setting, absent = the terminology's; `age_days_soft`: older than this is answered with
    CAUTION:old. `optional`: its absence changes the variant, never the verdict. `missing_value`: what the graph gets for an absent
    optional input (NaN when not given).
    """

    name: str
    tensor: str
    concept: str
    unit: str
    feature: Feature
    optional: bool = False
    model_range: Range | None = None
    caution_above: Mapping[str, float] = {}  # caution name -> bound: answered, with CAUTION:<name>
    age_days_max: Mapping[Setting, float] = {}
    age_days_soft: Mapping[Setting, float] = {}


class Exclusion(_Strict, frozen=True, kw_only=True):
    """A finding that makes the model not applicable, with its reason code; when it cannot be judged, the model is indeterminate.

    `sexes`: whom it can concern; for anyone else its absence needs no proof.
    """

    name: str
    reason: str
    feature: ConditionPresent
    sexes: tuple[Sex, ...] = ("female", "male")
    words: str = ""  # said instead of the bare code, so that nobody reads it as low risk


class Eligibility(_Strict, frozen=True, kw_only=True):
    """For whom the model is made."""

    age_years: Range
    sexes: tuple[Sex, ...] = ("female", "male")
    care_settings: tuple[Setting, ...] = ("ed", "inpatient", "ambulatory")
    default_setting: Setting = "ambulatory"
    exclusions: tuple[Exclusion, ...] = ()
    uses_sex: bool = True


class Consistency(_Strict, frozen=True, kw_only=True):
    """`left` must be smaller than `right`; else both are INCONSISTENT under this name."""

    name: str
    left: str
    right: str


class Coding(_Strict, frozen=True, kw_only=True):
    """A coded concept of the answer."""

    system: str
    code: str
    display: str


class Band(_Strict, frozen=True, kw_only=True):
    """A named band of one output: `low <= value < high`, on the output's own scale (a probability is 0..1)."""

    name: str
    low: float
    high: float
    code: str  # of the risk-probability code system where one fits
    source: str


class OutputSpec(_Strict, frozen=True, kw_only=True):
    """One number the graph gives.

    `index`: column of the graph's result tensor. `label`: the name used by applicability vectors; a label counts as available when all
    outputs that carry it are. `vector_column`: in vector files. `needs`: names of inputs. `age_years`: a horizon the model does not have at
    this age is left out and degrades nothing. `headline`: shown first to people.
    """

    name: str
    index: int
    label: str
    vector_column: str
    title: str
    outcome: Coding | None = None
    outcome_text: str = ""
    unit: str = "1"
    needs: tuple[str, ...]
    horizon_years: int | None = None
    age_years: Range | None = None
    valid_range: Range
    bands: tuple[Band, ...] = ()
    headline: bool = False


class Variant(_Strict, frozen=True, kw_only=True):
    """A variant of the model and the optional inputs it is chosen for; `index` is what the graph gets in `variant_tensor`."""

    name: str
    index: int
    when: tuple[tuple[str, ...], ...]  # any of these exact sets of valid optional inputs


class FallbackSpec(_Strict, frozen=True, kw_only=True):
    """A published score that may stand in, under its own name.

    `opens_on`: input name -> reason codes that open it (`any` for all). `parameters`: score parameter -> input name of this model or,
    with `features`, an input of its own. It answers only when all its inputs are valid and `age_years` holds.
    """

    score: str
    opens_on: Mapping[str, tuple[str, ...]]
    parameters: Mapping[str, str]
    features: tuple[InputSpec, ...] = ()
    age_years: Range | None = None
    not_when: tuple[str, ...] = ()  # reason codes that keep it shut


class MeasurementAnswer(_Strict, frozen=True, kw_only=True):
    """The model's result is an Observation (an eGFR), not a risk."""

    code: Coding
    unit: str
    unit_code: str
    decimals: int = 0


class ReleaseIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly which model ran, where: enough to run it again bit for bit."""

    name: str
    version: str
    graph_sha256: str
    manifest_sha256: str
    runtime: str = ""  # "onnxruntime 1.32.0 CPUExecutionProvider"; "" for plain Python


class ModelManifest(_Strict, frozen=True, kw_only=True):
    """One release of a model.

    `result`: `risk` gives a RiskAssessment, `measurement` an Observation. `result_tensor` is [N, outputs] float64, `applicable_tensor`
    [N, outputs] bool.
    """

    schema_version: Literal[1]
    name: str
    version: str
    title: str
    publisher: str
    citation: str
    doi: str
    licence: str
    intended_use: str
    limitations: tuple[str, ...]
    dsi_class: Literal["evidence-based", "predictive"]
    result: Literal["risk", "measurement"]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    eligibility: Eligibility
    consistency: tuple[Consistency, ...] = ()
    variants: tuple[Variant, ...] = ()
    variant_tensor: str | None = None
    result_tensor: str
    applicable_tensor: str
    fallbacks: tuple[FallbackSpec, ...] = ()
    measurement: MeasurementAnswer | None = None
    alert_output: str | None = None
    alert_threshold: float | None = None

    def input(self, name: str) -> InputSpec:
        """Return the input of that name.

        Raises:
            KeyError: the manifest has no such input.
        """
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise KeyError(name)


def decode_manifest(toml: bytes) -> ModelManifest:
    """Decode and check a manifest.

    Raises:
        msgspec.ValidationError: a key is unknown, missing or of the wrong type; the message names its place.
    """
    return msgspec.toml.decode(toml, type=ModelManifest)
