"""One code per input, in this order: missing, implausible, inconsistent, stale, out of model range (clinical rules of the vectors).

What could not be found or read was decided by the operator that looked; here a found number meets its partners, its age limit and the
model's range.
"""

import datetime as dt
from collections.abc import Mapping

import msgspec

from gateway.features.derived import is_older
from gateway.features.manifest import Consistency, InputSpec, ModelManifest, Range, Setting
from gateway.features.value import InputState, InputValue
from gateway.quality.together import grade_together
from gateway.record.reason import Reason, ReasonCode


class Grades(msgspec.Struct, frozen=True, kw_only=True):
    """The graded inputs, and the reasons that take away single outputs although the input itself is usable."""

    inputs: Mapping[str, InputValue]
    by_output: Mapping[str, tuple[Reason, ...]]


def grade_inputs(manifest: ModelManifest, inputs: Mapping[str, InputValue], as_of: dt.datetime, setting: Setting) -> Grades:
    """Grade every input of the manifest and of its fallbacks; exclusions pass through as they are."""
    graded = {name: value if value.age_limit.applicable else _meaningless(value) for name, value in inputs.items()}
    for pair in manifest.consistency:
        _grade_pair(pair, graded)
    by_output: dict[str, tuple[Reason, ...]] = {}
    for spec in manifest.inputs:
        value = graded[spec.name] = _grade_age(graded[spec.name], as_of)
        if not value.usable:
            continue
        if spec.model_range is not None and not spec.model_range.holds(value.tensor_value):
            _grade_range(spec, spec.model_range, graded, by_output)
        elif spec.caution_above or spec.caution_below:
            graded[spec.name] = _with_cautions(spec, value)
    for fallback in manifest.fallbacks:
        for spec in fallback.features:
            graded[spec.name] = _grade_age(graded[spec.name], as_of)
    grade_together(manifest, graded, setting)
    return Grades(inputs=graded, by_output=by_output)


def _grade_pair(pair: Consistency, graded: dict[str, InputValue]) -> None:
    left, right = graded[pair.left], graded[pair.right]
    if left.usable and right.usable and left.tensor_value >= right.tensor_value:
        reason = Reason(ReasonCode.INCONSISTENT, pair.name, f"{pair.left} must be smaller than {pair.right}")
        for value in (left, right):
            graded[value.name] = withhold(value, InputState.INCONSISTENT, reason)


def _grade_range(spec: InputSpec, limits: Range, graded: dict[str, InputValue], by_output: dict[str, tuple[Reason, ...]]) -> None:
    high = f"below {limits.high:g}" if limits.high_open else f"{limits.high:g}"
    words = f"the model was made for {limits.low:g} to {high} {spec.unit}"
    code = ReasonCode(limits.reason)
    reason = Reason(code, spec.name if code is ReasonCode.VALUE_OUT_OF_MODEL_RANGE else "", words)
    if not limits.only_for:
        graded[spec.name] = withhold(graded[spec.name], InputState.OUT_OF_MODEL_RANGE, reason)
    for output in limits.only_for:
        by_output[output] = (*by_output.get(output, ()), reason)


def withhold(value: InputValue, state: InputState, reason: Reason) -> InputValue:
    """Return the input as not usable, its number still shown, for one reason instead of those it had."""
    return msgspec.structs.replace(value, state=state, reasons=(reason,))


def _meaningless(value: InputValue) -> InputValue:
    """The tables say `n/a` for this concept in this care setting (rules 3)."""
    reason = Reason(ReasonCode.CARE_SETTING, "", f"{value.name} has no meaning in this setting")
    return withhold(value, InputState.OUT_OF_MODEL_RANGE, reason)


def _grade_age(value: InputValue, as_of: dt.datetime) -> InputValue:
    if not value.usable or (value.time is None and value.aged_from is None):
        return value
    limit = value.age_limit
    if is_older(value, limit.hard_days, as_of):
        words = f"older than {limit.hard_days:g} days"
        return withhold(value, InputState.STALE, Reason(ReasonCode.STALE_INPUT, value.aged_as or value.name, words))
    if is_older(value, limit.soft_days, as_of):
        caution = Reason(ReasonCode.CAUTION, f"old:{value.name}", f"older than {limit.soft_days:g} days")
        return msgspec.structs.replace(value, reasons=(*value.reasons, caution))
    return value


def _with_cautions(spec: InputSpec, value: InputValue) -> InputValue:
    number = value.tensor_value
    crossed = [(name, "above", bound) for name, bound in spec.caution_above.items() if number > bound]
    crossed += [(name, "below", bound) for name, bound in spec.caution_below.items() if number < bound]
    cautions = (Reason(ReasonCode.CAUTION, name, f"{spec.name} {side} {bound:g} {spec.unit}") for name, side, bound in crossed)
    return msgspec.structs.replace(value, reasons=(*value.reasons, *cautions)) if crossed else value
