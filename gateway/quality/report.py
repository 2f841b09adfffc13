"""The judgement of one record for one model: verdict, reasons, which outputs may be given and which fallbacks may answer."""

import datetime as dt
import enum
from collections.abc import Mapping

import msgspec

from gateway.features.manifest import Setting
from gateway.features.value import InputValue
from gateway.record.reason import Reason


class Verdict(enum.StrEnum):
    """The one vocabulary for outcomes (rules 1)."""

    SCORED = "scored"
    SCORED_DEGRADED = "scored-degraded"
    FALLBACK = "fallback"
    INDETERMINATE = "indeterminate"
    NOT_APPLICABLE = "not-applicable"


class SettingSource(enum.StrEnum):
    """How the care setting became known."""

    REQUEST = "request"
    OPEN_ENCOUNTER = "open-encounter"
    MANIFEST_DEFAULT = "manifest-default"
    # Not known: the default's limits are shown, and nothing is answered, because an open stay may be among what did not arrive.
    NOT_FETCHED = "encounters-not-fetched"
    NOT_ALLOWED = "encounters-not-allowed"


class QualityReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a record is good enough for a model, output by output.

    `verdict` is FALLBACK only after a fallback really answered; the judge leaves INDETERMINATE or NOT_APPLICABLE with `fallbacks` open.
    `reasons` holds every reason code of the answer, each once, ordered. `withheld` maps an output's name to the reasons that take it away;
    outputs that the model does not have at this age are in neither `available` nor `withheld`.
    """

    model: str
    model_version: str
    as_of: dt.datetime
    setting: Setting
    setting_source: SettingSource
    verdict: Verdict
    reasons: tuple[Reason, ...]
    inputs: Mapping[str, InputValue]
    available: tuple[str, ...]
    withheld: Mapping[str, tuple[Reason, ...]]
    fallbacks: tuple[str, ...] = ()  # scores that may answer, in the manifest's order
    variant: str | None = None
    variant_index: int | None = None

    @property
    def vector_status(self) -> str:
        """Return the word the vector files use: ok, partial or abstain."""
        if not self.available:
            return "abstain"
        return "partial" if self.withheld else "ok"
