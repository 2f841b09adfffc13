"""Which published scores may stand in, each under its own name."""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.features.manifest import Age, FallbackSpec, ModelManifest
from gateway.features.value import InputState, InputValue
from gateway.record.reason import Reason, ReasonCode

ANY_REASON = "any"


def open_fallbacks(manifest: ModelManifest, inputs: Mapping[str, InputValue], reasons: Iterable[Reason]) -> tuple[str, ...]:
    """Return the scores that may answer, in the manifest's order: opened by a bad input, not shut by another, nothing of their own bad."""
    if not manifest.fallbacks:
        return ()
    codes = {reason.code.value for reason in reasons}
    failed = _another_failed(inputs)
    return tuple(
        fallback.score
        for fallback in manifest.fallbacks
        if (failed or _is_opened(fallback, inputs)) and codes.isdisjoint(fallback.not_when) and _can_compute(manifest, fallback, inputs)
    )


def fallbacks_after_failure(manifest: ModelManifest, inputs: Mapping[str, InputValue]) -> tuple[str, ...]:
    """Return the scores that may stand in after the model's graph could not be run for a patient it is made for: all that can compute."""
    return tuple(fallback.score for fallback in manifest.fallbacks if _can_compute(manifest, fallback, inputs))


def _another_failed(inputs: Mapping[str, InputValue]) -> bool:
    """An input that another model could not compute opens every fallback whatever its list says: that is what fallbacks are for."""
    return any(reason.code is ReasonCode.RUNTIME_FAILURE for value in inputs.values() if not value.usable for reason in value.reasons)


def _is_opened(fallback: FallbackSpec, inputs: Mapping[str, InputValue]) -> bool:
    """Labs or vitals that are stale as a group open nothing; a value withheld by another model for the patient's sake neither."""
    for name, codes in fallback.opens_on.items():
        value = inputs[name]
        if value.usable or value.aged_as or value.state is InputState.WITHHELD:
            continue
        if ANY_REASON in codes or any(reason.withholds and reason.code.value in codes for reason in value.reasons):
            return True
    return False


def _can_compute(manifest: ModelManifest, fallback: FallbackSpec, inputs: Mapping[str, InputValue]) -> bool:
    names = [*fallback.parameters.values(), *(spec.name for spec in fallback.features)]
    enough = any if fallback.partial else all
    if not all(inputs[name].usable for name in fallback.partial_needs):
        return False
    if not enough(input_for(fallback, inputs[name]).usable for name in names):
        return False
    if fallback.age_years is None:
        return True
    ages = [inputs[spec.name] for spec in manifest.inputs if isinstance(spec.feature, Age)]
    return bool(ages) and all(age.usable and fallback.age_years.holds(age.tensor_value) for age in ages)


def input_for(fallback: FallbackSpec, value: InputValue) -> InputValue:
    """Return an input as the score takes it: outside the model's range is not outside the score's, where the manifest says so."""
    if value.state is not InputState.OUT_OF_MODEL_RANGE or value.name not in fallback.beyond_range:
        return value
    return msgspec.structs.replace(value, state=InputState.VALID, reasons=())
