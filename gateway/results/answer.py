"""What an assessment found, before it is rendered for anyone: one answer per model, each with its rung and its reasons."""

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.features.manifest import ModelManifest
from gateway.features.manifest import ReleaseIdentity as ReleaseIdentity  # noqa: PLC0414 - re-exported: made in the registry, below this room
from gateway.features.value import InputValue
from gateway.quality.report import QualityReport, Verdict
from gateway.record.reason import Reason
from gateway.record.values import Dropped


class Rung(enum.StrEnum):
    """Which step of the ladder answered. Another dimension than the verdict (rules 1)."""

    GPU = "gpu"
    CPU = "cpu"
    REMOTE = "remote"
    FALLBACK_SCORE = "fallback-score"
    NONE = "none"


class Prediction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output that may be shown. `value` is full float64 on the output's own scale (a probability is 0..1)."""

    output: str
    value: float
    band: str | None = None
    terms: Mapping[str, float] = {}  # contributions on the model's own scale, by term


class FallbackAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A published score that answered under its own name, with its own outcome and citation."""

    score: str
    title: str
    citation: str
    outcome_text: str
    horizon_years: int | None
    value: float | None  # probability 0..1, a score, or a measured value for a reported one
    qualitative: str | None = None
    unit: str = "1"
    scale: Literal["probability", "score"] = "probability"
    decimals: int = 0  # of a score, as it is shown
    score_range: tuple[float, float] | None = None  # both ends a score can have with what is missing
    inputs: Mapping[str, InputValue] = {}
    cautions: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    alerts: bool = False  # what is known asks for a response, whatever is missing


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One model's answer about one patient."""

    manifest: ModelManifest
    release: ReleaseIdentity
    report: QualityReport
    verdict: Verdict
    rung: Rung
    predictions: tuple[Prediction, ...] = ()
    fallbacks: tuple[FallbackAnswer, ...] = ()
    rung_reason: str = ""  # why a lower rung than the first answered; no PHI


class AssessmentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one request brought to light."""

    assessment_id: str  # uuid of this assessment: identifiers of the resources derive from it
    patient_id: str
    base_url: str | None
    as_of: dt.datetime
    answered_at: dt.datetime
    retrospective: bool
    answers: tuple[ModelAnswer, ...]
    dropped: tuple[Dropped, ...] = ()
    request_id: str = ""
