"""How an operator says what it found: a valid value, an absence that may be concluded, or why there is nothing to use."""

import datetime as dt

import msgspec

from gateway.features.context import Chart, Target
from gateway.features.value import Evidence, InputState, InputValue
from gateway.fhir.group import Group, GroupState
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import Measurement

LOINC = "http://loinc.org"
CODE_OF_STATE = {
    InputState.MISSING: ReasonCode.MISSING_INPUT,
    InputState.IMPLAUSIBLE: ReasonCode.IMPLAUSIBLE_VALUE,
    InputState.INCONSISTENT: ReasonCode.INCONSISTENT,
    InputState.STALE: ReasonCode.STALE_INPUT,
    InputState.OUT_OF_MODEL_RANGE: ReasonCode.VALUE_OUT_OF_MODEL_RANGE,
    InputState.NOT_FETCHED: ReasonCode.NOT_FETCHED,
    InputState.NOT_ALLOWED: ReasonCode.NOT_ALLOWED,
}


class Shown(msgspec.Struct, frozen=True, gc=False):
    """What a person gets to see of an input, used or not: value in the target's unit, oldest time, words, evidence."""

    value: float | None = None
    time: dt.datetime | None = None
    text: str = ""
    evidence: tuple[Evidence, ...] = ()
    aged_from: dt.datetime | None = None


NOTHING = Shown()


def found(target: Target, shown: Shown, cautions: tuple[Reason, ...] = (), state: InputState = InputState.VALID) -> InputValue:
    """Return a value the model may use."""
    return InputValue(
        name=target.name,
        concept=target.concept,
        state=state,
        value=shown.value,
        unit=target.unit,
        time=shown.time,
        text=shown.text,
        evidence=shown.evidence,
        reasons=cautions,
        aged_from=shown.aged_from,
        age_limit=target.limit,
    )


def concluded_absent(target: Target) -> InputValue:
    """Return a "no" that meets the whole absence rule (rules 3)."""
    return InputValue(
        name=target.name,
        concept=target.concept,
        state=InputState.CONCLUDED_ABSENT,
        value=0.0,
        unit=target.unit,
        text="none recorded",
    )


def not_usable(target: Target, state: InputState, detail: str = "", shown: Shown = NOTHING, subject: str = "") -> InputValue:
    """Return an input that the model may not use, with the reason that belongs to its state. `subject` defaults to the input's name."""
    return withheld_for(target, state, Reason(CODE_OF_STATE[state], subject or target.name, detail), shown)


def withheld_for(target: Target, state: InputState, reason: Reason, shown: Shown = NOTHING) -> InputValue:
    """Return an input that the model may not use, with a reason of its own."""
    return InputValue(
        name=target.name,
        concept=target.concept,
        state=state,
        value=shown.value,
        unit=target.unit,
        time=shown.time,
        text=shown.text,
        evidence=shown.evidence,
        reasons=(reason,),
        aged_from=shown.aged_from,
        age_limit=target.limit,
    )


def unseen_group(target: Target, chart: Chart, group: Group | None) -> InputValue | None:
    """Return why no value of this group may be used, or None when it may.

    A part of an incomplete group may not hold the newest value, so it is not used (rules 3). A group nobody searched (an inline record
    that is not declared complete) may be used for what is there, not for what is not.
    """
    if group is None:
        return None
    state = chart.group_state(group)
    if state is GroupState.COMPLETE or state is GroupState.NOT_SEARCHED:
        return None
    if state is GroupState.NOT_ALLOWED:
        return not_usable(target, InputState.NOT_ALLOWED, f"not allowed to read {group}")
    why = "only a part arrived" if state is GroupState.INCOMPLETE else "could not be fetched"
    return not_usable(target, InputState.NOT_FETCHED, f"{group}: {why}")


def unsearched_group(target: Target, chart: Chart, group: Group) -> InputValue | None:
    """Return why absence cannot be concluded from this group, or None when it can."""
    unseen = unseen_group(target, chart, group)
    if unseen is None and chart.group_state(group) is not GroupState.COMPLETE:
        return not_usable(target, InputState.MISSING, f"{group}: nobody searched, so absence is not known")
    return unseen


def evidence_of(measurement: Measurement) -> Evidence:
    """Return a measurement as evidence, raw as received."""
    raw: float | str | None = measurement.value
    if raw is None and measurement.value_codes:
        raw = measurement.value_codes[0].display or measurement.value_codes[0].code
    return Evidence(
        source=measurement.source,
        raw_value=raw if raw is not None else measurement.value_text,
        raw_unit=measurement.unit,
        time=measurement.time.at if measurement.time is not None else None,
        code=_measured_code(measurement),
    )


def _measured_code(measurement: Measurement) -> str | None:
    """Return the LOINC code where there is one, which says by what method it was measured; else the first code."""
    codes = measurement.codes
    return next((code.code for code in codes if code.system == LOINC), codes[0].code if codes else None)
