"""Reason codes: why an input, an output or a whole model is withheld, or answered with a caution.

The names are those of clinical/README.md ("Reason codes in applicability_vectors.csv"); the subject follows a colon.
"""

import enum

import msgspec


class ReasonCode(enum.StrEnum):
    """The closed list of reasons."""

    # The model is not made for this patient (rules 1: `not-applicable`).
    AGE_OUT_OF_RANGE = "AGE_OUT_OF_RANGE"
    SEX_UNSUPPORTED = "SEX_UNSUPPORTED"
    PREGNANCY = "PREGNANCY"
    PRIOR_CVD = "PRIOR_CVD"
    KIDNEY_REPLACEMENT = "KIDNEY_REPLACEMENT"
    NOT_ELIGIBLE_EGFR = "NOT_ELIGIBLE_EGFR"
    NOT_ELIGIBLE_CONDITION = "NOT_ELIGIBLE_CONDITION"  # made only for those who have a disease that this patient does not have
    VALUE_OUT_OF_MODEL_RANGE = "VALUE_OUT_OF_MODEL_RANGE"
    CARE_SETTING = "CARE_SETTING"
    DECEASED = "DECEASED"
    RECORD_REPLACED = "RECORD_REPLACED"
    # Something is missing, old, impossible or contradictory (rules 1: `indeterminate`).
    MISSING_INPUT = "MISSING_INPUT"
    NOT_FETCHED = "NOT_FETCHED"
    NOT_ALLOWED = "NOT_ALLOWED"
    STALE_INPUT = "STALE_INPUT"
    IMPLAUSIBLE_VALUE = "IMPLAUSIBLE_VALUE"
    INCONSISTENT = "INCONSISTENT"
    NOT_CONTEMPORANEOUS = "NOT_CONTEMPORANEOUS"
    UNSTABLE_CREATININE = "UNSTABLE_CREATININE"
    CONFIG_MISSING = "CONFIG_MISSING"
    AGE_12_17 = "AGE_12_17"  # the score is given with the rule for this age, what was fitted in adults is not
    RUNTIME_FAILURE = "RUNTIME_FAILURE"  # the model could not be run, or its output was not believable
    # The answer is given, with something to say about it.
    CAUTION = "CAUTION"
    ASSUMED = "ASSUMED"


NOT_APPLICABLE_CODES = frozenset(
    {
        ReasonCode.AGE_OUT_OF_RANGE,
        ReasonCode.SEX_UNSUPPORTED,
        ReasonCode.PREGNANCY,
        ReasonCode.PRIOR_CVD,
        ReasonCode.KIDNEY_REPLACEMENT,
        ReasonCode.NOT_ELIGIBLE_EGFR,
        ReasonCode.NOT_ELIGIBLE_CONDITION,
        ReasonCode.VALUE_OUT_OF_MODEL_RANGE,
        ReasonCode.CARE_SETTING,
        ReasonCode.DECEASED,
        ReasonCode.RECORD_REPLACED,
    }
)
ADVISORY_CODES = frozenset({ReasonCode.CAUTION, ReasonCode.ASSUMED})


class Reason(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """One reason: a code, and for most codes the input it is about. `str()` gives the form of the vectors, `CODE:subject`.

    `detail` is words for a person (values and times of the patient may stand in it: it is PHI, and never enters a log).
    """

    code: ReasonCode
    subject: str = ""
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code}:{self.subject}" if self.subject else self.code.value

    @property
    def withholds(self) -> bool:
        """Tell whether this reason takes an output away (a caution or an assumption does not)."""
        return self.code not in ADVISORY_CODES
