"""The limit that a laboratory states beside its own value: its range, not one from a book."""

from gateway.features.context import Chart, Target
from gateway.features.manifest import ReferenceLimit
from gateway.features.measured import conflict, nothing_usable
from gateway.features.outcome import Shown, evidence_of, found, not_usable, unseen_group
from gateway.features.readings import newest
from gateway.features.value import InputState, InputValue
from gateway.terminology import Converted


def reference_limit(target: Target, feature: ReferenceLimit, chart: Chart) -> InputValue:
    """Return the limit that stands with the newest usable value of the concept, in the concept's unit; there is no default.

    Only one range without a type, or of the type `normal`, in the value's own unit counts (read in `record`).
    """
    unseen = unseen_group(target, chart, chart.terminology.concept(feature.concept).group)
    if unseen is not None:
        return unseen
    readings = chart.readings(feature.concept)
    choice = newest(readings)
    if choice is None:
        return nothing_usable(target, readings)
    if choice.reading is None:
        return conflict(target, choice)
    source = choice.reading.source
    shown = Shown(None, choice.reading.at, "", (evidence_of(source),))
    limit = source.reference_high if feature.end == "high" else source.reference_low
    if limit is None:
        return not_usable(target, InputState.MISSING, f"no {feature.end} limit stands with the newest {feature.concept}", shown)
    converted = chart.terminology.convert(feature.concept, limit, source.unit, coded=source.unit_coded)
    if not isinstance(converted, Converted):
        return not_usable(target, InputState.IMPLAUSIBLE, f"the {feature.end} limit is no possible {feature.concept}", shown)
    words = f"{converted.value:g} {target.unit}, the laboratory's own {feature.end} limit"
    return found(target, Shown(converted.value, choice.reading.at, words, shown.evidence))
