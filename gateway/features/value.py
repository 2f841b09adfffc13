"""One input as found in a record, with where it came from and why it is not usable, if it is not."""

import datetime as dt
import enum
from collections.abc import Mapping

import msgspec

from gateway.record.reason import Reason
from gateway.record.values import SourceRef
from gateway.terminology import AgeLimit

NO_AGE_LIMIT = AgeLimit()


class InputState(enum.StrEnum):
    """What is known about an input. The first three carry a number the model may use."""

    VALID = "valid"
    CONCLUDED_ABSENT = "concluded-absent"  # "no", by the absence rule (rules 3)
    ASSUMED = "assumed"  # only where the data sheet allows it
    MISSING = "missing"  # searched, and nothing usable there; or absence could not be concluded
    STALE = "stale"
    IMPLAUSIBLE = "implausible"
    INCONSISTENT = "inconsistent"
    OUT_OF_MODEL_RANGE = "out-of-model-range"
    NOT_FETCHED = "not-fetched"  # asked, and the server failed, or only a part came
    NOT_ALLOWED = "not-allowed"
    WITHHELD = "withheld"  # another model does not apply to this patient, so it gives no number; opens no fallback (rules 4)


_VALID = InputState.VALID  # the common case, asked for a hundred times per judgement
USABLE_STATES = frozenset({InputState.VALID, InputState.CONCLUDED_ABSENT, InputState.ASSUMED})


class Evidence(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One resource a value rests on, with the number, unit, time and (of a measurement) code as received."""

    source: SourceRef
    raw_value: float | str | None = None
    raw_unit: str | None = None
    time: dt.datetime | None = None
    code: str | None = None


class InputValue(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One input of one model for one patient at one as-of time.

    `value` is in the manifest's unit and set when a number was found, also when it is then withheld (stale, out of range), so that a person
    can see it; `tensor_value` decides what the graph gets. `time` is the oldest time the value rests on. `reasons` are this input's
    own: at most one that withholds, plus cautions. `aged_from` is what an age limit counts from where it is not `time` (a height has a
    limit of its own); `age_limit` holds the limits of this care setting; `aged_as` names the group (`labs`, `vitals`) whose age was stated
    as a whole. `interval` holds both ends where only an interval is known (an age from a birth year).
    """

    name: str
    concept: str
    state: InputState
    value: float | None = None
    unit: str = ""
    time: dt.datetime | None = None
    text: str = ""  # for people: "never smoked", "lisinopril"
    evidence: tuple[Evidence, ...] = ()
    reasons: tuple[Reason, ...] = ()
    lineage: Mapping[str, str] = {}  # another model's output: model, version, sha256
    aged_from: dt.datetime | None = None
    aged_as: str = ""
    age_limit: AgeLimit = NO_AGE_LIMIT
    interval: tuple[float, float] | None = None

    @property
    def usable(self) -> bool:
        """Tell whether the model may use the value."""
        return self.value is not None and (self.state is _VALID or self.state in USABLE_STATES)

    @property
    def tensor_value(self) -> float:
        """Return what the graph gets: the value, or NaN, which poisons every output that needs it."""
        return self.value if self.usable and self.value is not None else float("nan")
