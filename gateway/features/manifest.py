"""The manifest: a model as data. Which inputs it reads and how, for whom it is made, what it says, and what stands in for it.

One `manifest.toml` per release is decoded into `ModelManifest`; an unknown key is an error that names its place. No model needs Python of
its own: a feature is an operator with parameters. Durations are days (`age_days_max`), because the data sheets state them so.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.features.operator import (
    Age,
    Choice,
    CodedCategory,
    Coding,
    ConditionPresent,
    CurrentMedication,
    Feature,
    FirstOf,
    LatestOf,
    MeanOfNewest,
    ModelOutput,
    Newest,
    NewestInStay,
    NewestPair,
    NightsOfStay,
    NotRecorded,
    ProcedureInStay,
    ProceduresCounted,
    Quotient,
    ReferenceLimit,
    SexAtAsOf,
    SimpleFeature,
    SiteSetting,
    StaysCounted,
    Strict,
    Threshold,
    UrgentStay,
)

__all__ = [  # declared in `operator`, and part of a manifest all the same
    "Age",
    "Choice",
    "CodedCategory",
    "Coding",
    "ConditionPresent",
    "CurrentMedication",
    "Feature",
    "FirstOf",
    "LatestOf",
    "MeanOfNewest",
    "ModelOutput",
    "Newest",
    "NewestInStay",
    "NewestPair",
    "NightsOfStay",
    "NotRecorded",
    "ProcedureInStay",
    "ProceduresCounted",
    "Quotient",
    "ReferenceLimit",
    "SexAtAsOf",
    "SimpleFeature",
    "SiteSetting",
    "StaysCounted",
    "Threshold",
    "UrgentStay",
]

Setting = Literal["ed", "inpatient", "ambulatory"]
Sex = Literal["female", "male"]


# --- inputs, outputs, eligibility -------------------------------------------------------------------------------------------------


class Range(Strict, frozen=True, kw_only=True):
    """A closed interval; `high_open`: the upper end itself is outside.

    `only_for` names the outputs it binds; empty = all outputs that need the input. `reason`: the code of a value outside, where the data
    sheet gives it one of its own (NOT_ELIGIBLE_EGFR).
    """

    low: float
    high: float
    only_for: tuple[str, ...] = ()
    high_open: bool = False
    reason: str = "VALUE_OUT_OF_MODEL_RANGE"

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError("a range needs low <= high")

    def holds(self, value: float) -> bool:
        """Tell whether the value lies inside."""
        return self.low <= value < self.high if self.high_open else self.low <= value <= self.high


class InputSpec(Strict, frozen=True, kw_only=True):
    """One input of the graph.

    `name`: in reason codes and in `record show`; `tensor`: in the graph and in vector files; `concept`: the concept or group of codes.csv
    it is about. `age_days_max`: hard limit per care setting, absent = the terminology's; `age_days_soft`: older than this is answered with
    CAUTION:old. `optional`: its absence changes the variant, never the verdict; the graph gets NaN for it. `assumed`: taken, and said,
    where the input is missing and the data sheet allows it (ASSUMED).
    `words`: word -> number, where vector files state the input in words.
    """

    name: str
    tensor: str
    concept: str
    unit: str
    feature: Feature
    optional: bool = False
    assumed: float | None = None
    model_range: Range | None = None
    caution_above: Mapping[str, float] = {}  # caution name -> bound: answered, with CAUTION:<name>
    caution_below: Mapping[str, float] = {}  # the same for values under the bound
    age_days_max: Mapping[Setting, float] = {}
    age_days_soft: Mapping[Setting, float] = {}
    words: Mapping[str, float] = {}


class Exclusion(Strict, frozen=True, kw_only=True):
    """A finding that makes the model not applicable, with its reason code; when it cannot be judged, the model is indeterminate.

    `when`: `absent` turns it round: the model is made only for those who have it (atrial fibrillation), and its absence is the reason.
    `sexes`: whom it can concern; for anyone else its absence needs no proof.
    """

    name: str
    reason: str
    feature: ConditionPresent
    when: Literal["present", "absent"] = "present"
    sexes: tuple[Sex, ...] = ("female", "male")
    words: str = ""  # said instead of the bare code, so that nobody reads it as low risk


class Eligibility(Strict, frozen=True, kw_only=True):
    """For whom the model is made."""

    age_years: Range
    sexes: tuple[Sex, ...] = ("female", "male")
    care_settings: tuple[Setting, ...] = ("ed", "inpatient", "ambulatory")
    default_setting: Setting = "ambulatory"
    exclusions: tuple[Exclusion, ...] = ()
    uses_sex: bool = True


class IndexStay(Strict, frozen=True, kw_only=True):
    """The stay a model of discharge is about: the newest Encounter of `classes` that is open or ended at most `ended_days_max` ago."""

    classes: tuple[str, ...]
    ended_days_max: float


class Consistency(Strict, frozen=True, kw_only=True):
    """`left` must be smaller than `right`; else both are INCONSISTENT under this name."""

    name: str
    left: str
    right: str


class Spread(Strict, frozen=True, kw_only=True):
    """Inputs that only mean something together: further apart than `days_max` and none of them is used (NOT_CONTEMPORANEOUS).

    `days_max_in`: another limit in a care setting. `keeps_newest`: those within the limit of the newest are used, only older ones are not.
    """

    inputs: tuple[str, ...]
    days_max: float
    days_max_in: Mapping[Setting, float] = {}
    keeps_newest: bool = False


class Finding(Strict, frozen=True, kw_only=True):
    """A finding that makes an input doubtful without taking it away: CAUTION:<caution>, or CAUTION:<unknown> where it cannot be judged."""

    name: str
    input: str
    caution: str
    unknown: str
    feature: CurrentMedication | ConditionPresent


class Band(Strict, frozen=True, kw_only=True):
    """A named band of one output: `low <= value < high`, on the output's own scale (a probability is 0..1).

    `only_when`: values that other outputs must have; of several bands that hold, the first one declared counts. `observed_rate`: what the
    source observed in this band (0..1), for scores that are no probability; it is named as observed, never given as a prediction.
    """

    name: str
    low: float
    high: float
    code: str = ""  # of the risk-probability code system, "" where none fits
    source: str
    only_when: Mapping[str, float] = {}
    observed_rate: float | None = None
    observed_of: str = ""  # what was observed, in words: "potentially avoidable readmission within 30 days"


class OutputSpec(Strict, frozen=True, kw_only=True):
    """One number the graph gives.

    `index`: column of the graph's result tensor. `label`: the name used by applicability vectors ("" = none); a label counts as available
    when all outputs that carry it are, and `band_label` with the output whose band it is. `vector_column`: in vector files, "" for a number
    that follows from another column; `published_column`: a column with what a paper printed; `band_column` holds the band's name, "" where
    none holds, `rate_column` the band's observed rate. `needs`: names of inputs. `age_years`: a horizon the model does not have at this age
    is left out and degrades nothing, unless `age_reason` gives the code with which it is withheld. `graph_decides`: why the graph may
    withhold this number of valid inputs (a formula that ends at some score). `headline`: shown first to people.

    `scale`: a `score` is a number that is no probability (points, an index), shown with `decimals`. `detail`: a part of the computation
    (a sub-score, a raw sum) that is checked like any output and never becomes a prediction; with `term_of` it explains that output.
    """

    name: str
    index: int
    label: str
    vector_column: str
    published_column: str = ""
    title: str
    outcome: Coding | None = None
    outcome_text: str = ""
    unit: str = "1"
    needs: tuple[str, ...]
    horizon_years: int | None = None
    horizon_days: int | None = None
    age_years: Range | None = None
    age_reason: str = ""
    graph_decides: str = ""
    valid_range: Range
    bands: tuple[Band, ...] = ()
    headline: bool = False
    scale: Literal["probability", "score"] = "probability"
    decimals: int = 0
    detail: bool = False
    term_of: str = ""
    band_column: str = ""
    band_label: str = ""
    rate_column: str = ""


class Variant(Strict, frozen=True, kw_only=True):
    """A variant of the model and the optional inputs it is chosen for; `index` is what the graph gets in `variant_tensor`.

    `otherwise`: chosen where no other variant is. `column_value`: how the manifest's `variant_column` of a vector file says it (its name).
    """

    name: str
    index: int
    when: tuple[tuple[str, ...], ...] = ()  # any of these exact sets of valid optional inputs
    otherwise: bool = False
    column_value: str = ""


class FallbackSpec(Strict, frozen=True, kw_only=True):
    """A published score that may stand in, under its own name.

    `opens_on`: input name -> reason codes that open it (`any` for all). `parameters`: score parameter -> input name of this model or,
    with `features`, an input of its own. It answers only when all its inputs are valid and `age_years` holds. `partial`: the score gives a
    range, so one valid input is enough (and those of `partial_needs`); the others are left out.
    """

    score: str
    opens_on: Mapping[str, tuple[str, ...]]
    parameters: Mapping[str, str]
    features: tuple[InputSpec, ...] = ()
    age_years: Range | None = None
    partial: bool = False
    partial_needs: tuple[str, ...] = ()
    not_when: tuple[str, ...] = ()  # reason codes that keep it shut
    beyond_range: tuple[str, ...] = ()  # inputs it takes although they are outside the model's own range


class MeasurementAnswer(Strict, frozen=True, kw_only=True):
    """The model's result is an Observation (an eGFR), not a risk."""

    code: Coding
    unit: str
    unit_code: str
    decimals: int = 0


class ReleaseIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly which model ran, where: enough to run it again bit for bit.

    A release that another server runs has no graph here: then `graph_sha256` is that of the release's own list of hashes.
    """

    name: str
    version: str
    graph_sha256: str
    manifest_sha256: str
    runtime: str = ""  # "onnxruntime 1.32.0 CPUExecutionProvider"; "" for plain Python


class ModelManifest(Strict, frozen=True, kw_only=True):
    """One release of a model.

    `result`: `risk` gives a RiskAssessment, `measurement` an Observation. `result_tensor` is [N, outputs], `applicable_tensor`
    [N, outputs] bool. A graph from elsewhere may lack `applicable_tensor`: then it is not run when an input that is not optional is absent,
    columns that no output names are not read, and `packed_tensor` may name the one tensor [N, inputs] that takes the inputs in their order.
    `element`: of the graph's inputs and result. `backend`: `remote` is run by another server, and the release holds no graph.
    `device_tolerance`: how far two devices may differ on one row, on the output's scale.
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
    index_stay: IndexStay | None = None
    consistency: tuple[Consistency, ...] = ()
    spread: tuple[Spread, ...] = ()
    findings: tuple[Finding, ...] = ()
    variants: tuple[Variant, ...] = ()
    variant_tensor: str | None = None
    variant_column: str = "model_variant"
    result_tensor: str
    applicable_tensor: str | None = None
    packed_tensor: str | None = None
    element: Literal["float64", "float32"] = "float64"
    backend: Literal["onnx", "remote"] = "onnx"
    device_tolerance: float = 1e-6
    fallbacks: tuple[FallbackSpec, ...] = ()
    measurement: MeasurementAnswer | None = None
    alert_output: str | None = None
    alert_threshold: float | None = None
    alert_terms: tuple[str, ...] = ()  # terms of the alert output that alert with 1, whatever the output itself
    card_without_number: bool = True  # else no card but for a number, or where something could not be fetched or run

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
