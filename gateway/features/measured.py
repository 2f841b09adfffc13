"""Operators over measured numbers: the newest, the newest pair of one date, the mean of the newest, a quotient."""

import datetime as dt
from collections.abc import Iterable, Iterator
from itertools import takewhile

import msgspec

from gateway.features.context import Chart, Target
from gateway.features.manifest import MeanOfNewest, Newest, NewestPair, Quotient, Threshold
from gateway.features.outcome import Shown, evidence_of, found, not_usable, unseen_group
from gateway.features.readings import BEGIN_OF_TIME, Choice, Reading, Readings, calendar_date, choose_at_instant, newest, newest_choices
from gateway.features.value import InputState, InputValue
from gateway.record.reason import Reason, ReasonCode

DAY = dt.timedelta(days=1)


def newest_of(target: Target, feature: Newest, chart: Chart) -> InputValue:
    """Return the newest usable value."""
    unseen = unseen_group(target, chart, chart.terminology.concept(feature.concept).group)
    if unseen is not None:
        return unseen
    readings = chart.readings(feature.concept)
    choice = newest(readings)
    return nothing_usable(target, readings) if choice is None else chosen_value(target, choice, readings)


def chosen_value(target: Target, choice: Choice, readings: Readings) -> InputValue:
    """Return what the rule for one instant chose, or INCONSISTENT where it chose nothing."""
    reading = choice.reading
    if reading is None:
        return conflict(target, choice)
    shown = Shown(reading.value, reading.at, "", (evidence_of(reading.source),))
    return found(target, shown, cautions_of(target, (choice,), readings, reading.at))


def conflict(target: Target, choice: Choice) -> InputValue:
    """Return an input whose numbers of one instant contradict each other beyond the written rule."""
    shown = Shown(time=choice.rivals[0].at, evidence=tuple(evidence_of(rival.source) for rival in choice.rivals))
    return not_usable(target, InputState.INCONSISTENT, f"different numbers at one time: {_numbers(choice.rivals)}", shown)


def cautions_of(target: Target, choices: Iterable[Choice], readings: Readings, used_at: dt.datetime) -> tuple[Reason, ...]:
    """Return what must be said beside a value that is used: a decided conflict, a newer measurement that could not be used."""
    cautions: list[Reason] = []
    for choice in choices:
        if choice.rivals:
            cautions.append(Reason(ReasonCode.CAUTION, f"conflict:{target.name}", f"also recorded: {_numbers(choice.rivals)}"))
            break
    later = readings.newer_unusable(used_at)
    if later is not None:
        cautions.append(Reason(ReasonCode.CAUTION, f"newer_unusable:{target.name}", later.why))
    return tuple(cautions)


def nothing_usable(target: Target, readings: Readings) -> InputValue:
    """Return MISSING, or IMPLAUSIBLE where an impossible number is all there is; either way say what was there."""
    unusable = readings.unusable()
    impossible = next((item for item in unusable if item.implausible), None)
    if impossible is not None:
        shown = Shown(impossible.value, impossible.at, "", (evidence_of(impossible.source),))
        return not_usable(target, InputState.IMPLAUSIBLE, "", shown)
    if not unusable:
        return not_usable(target, InputState.MISSING, "searched, nothing recorded")
    why = ", ".join(dict.fromkeys(item.why for item in unusable))
    return not_usable(target, InputState.MISSING, f"nothing usable: {why}", Shown(evidence=(evidence_of(unusable[0].source),)))


def newest_pair(target: Target, feature: NewestPair, chart: Chart) -> InputValue:
    """Return the value from the newest calendar date on which the partner has a usable value too.

    Where the partner has no usable value at all there is nothing to pair with: the newest one is returned, and the partner withholds.
    """
    unseen = unseen_group(target, chart, chart.terminology.concept(feature.concept).group)
    if unseen is not None:
        return unseen
    readings, partner = chart.readings(feature.concept), chart.readings(feature.partner)
    if not readings.any_usable():
        return nothing_usable(target, readings)
    if not partner.any_usable():
        return newest_of(target, Newest(concept=feature.concept), chart)
    for reading in readings.usable():
        if _has_partner(reading, partner):
            return chosen_value(target, choose_at_instant(readings.at_instant(reading.at)), readings)
    return not_usable(target, InputState.MISSING, f"no date with both this and {feature.partner}")


def _has_partner(reading: Reading, partner: Readings) -> bool:
    """Tell whether the partner has a usable value on the same calendar date, each in the offset its time was given in."""
    date = calendar_date(reading.source.time)
    near = takewhile(lambda other: other.at >= reading.at - 2 * DAY, partner.usable())
    return date is not None and any(calendar_date(other.source.time) == date for other in near)


def mean_of_newest(target: Target, feature: MeanOfNewest, chart: Chart) -> InputValue:
    """Return the mean of the newest usable values within the age limit; the newest alone, to be judged stale, where all are older."""
    unseen = unseen_group(target, chart, chart.terminology.concept(feature.concept).group)
    if unseen is not None:
        return unseen
    readings = chart.readings(feature.concept)
    oldest = chart.as_of - target.limit.hard_days * DAY if target.limit.hard_days is not None else BEGIN_OF_TIME
    recent = takewhile(lambda reading: reading.at >= oldest, _accepted(feature, readings, chart))
    choices = newest_choices(recent, feature.count) or newest_choices(_accepted(feature, readings, chart), 1)
    if not choices:
        if readings.any_usable():
            return not_usable(target, InputState.MISSING, "only readings taken in an emergency department or inpatient stay")
        return nothing_usable(target, readings)
    for choice in choices:
        if choice.reading is None:
            return conflict(target, choice)
    used = [choice.reading for choice in choices if choice.reading is not None]
    cautions = cautions_of(target, choices, readings, used[0].at)
    if feature.outpatient_only and any(chart.setting_of(reading.source) is None for reading in used):
        cautions = (*cautions, Reason(ReasonCode.CAUTION, f"setting_unknown:{target.name}", "no encounter says where it was measured"))
    return found(target, _mean_shown(used), cautions)


def _mean_shown(used: list[Reading]) -> Shown:
    mean = sum(reading.value for reading in used) / len(used)
    text = f"mean of {len(used)}" if len(used) > 1 else ""
    return Shown(mean, used[-1].at, text, tuple(evidence_of(reading.source) for reading in used))


def _accepted(feature: MeanOfNewest, readings: Readings, chart: Chart) -> Iterator[Reading]:
    if not feature.outpatient_only:
        return readings.usable()
    return (reading for reading in readings.usable() if chart.setting_of(reading.source) not in ("ed", "inpatient"))


def quotient(target: Target, feature: Quotient, chart: Chart) -> InputValue:
    """Return `factor * numerator / denominator ** power`.

    The denominator has an age limit of its own (a height); the target's limit is the numerator's.
    """
    parts = [
        newest_of(Target(target.name, concept, chart.terminology.concept(concept).unit or ""), Newest(concept=concept), chart)
        for concept in (feature.numerator, feature.denominator)
    ]
    for part in parts:
        if not part.usable:
            return not_usable(target, part.state, part.reasons[0].detail, Shown(evidence=part.evidence))
    top, bottom = parts
    value = _quotient_value(feature, top.value, bottom.value)
    times = [part.time for part in parts if part.time is not None]
    shown = Shown(value, min(times), "computed", (*top.evidence, *bottom.evidence), aged_from=top.time)
    if value is None or not chart.terminology.concept(target.concept).plausible(value):
        return not_usable(target, InputState.IMPLAUSIBLE, "", shown)
    if _too_old(bottom.time, feature.denominator_age_days_max, chart.as_of):
        return not_usable(target, InputState.STALE, f"{feature.denominator} too old", shown)
    cautions = {str(reason): reason for part in parts for reason in part.reasons}
    return found(target, shown, tuple(cautions.values()))


def threshold(target: Target, feature: Threshold, chart: Chart) -> InputValue:
    """Return 1 when the newest usable value lies beyond the bound, else 0, with the value in words."""
    value = newest_of(target, Newest(concept=feature.concept), chart)
    if not value.usable or value.value is None:
        return value
    beyond = value.value > feature.above if feature.above is not None else feature.below is not None and value.value < feature.below
    words = f"{feature.concept.replace('_', ' ')} {value.value:g} {chart.terminology.concept(feature.concept).unit}"
    return msgspec.structs.replace(value, value=float(beyond), text=words)


def _quotient_value(feature: Quotient, top: float | None, bottom: float | None) -> float | None:
    if top is None or bottom is None or bottom == 0:
        return None
    return feature.factor * top / bottom**feature.power


def _numbers(readings: Iterable[Reading]) -> str:
    return ", ".join(f"{reading.source.value:g} {reading.source.unit} ({reading.source.source.reference})" for reading in readings)


def _too_old(time: dt.datetime | None, days_max: float | None, as_of: dt.datetime) -> bool:
    return time is not None and days_max is not None and as_of - time > days_max * DAY
