"""What a hospital stay says: how long it was, whether it was urgent, what was measured and done in it, and which stays came before.

The index stay is the newest one of the manifest's classes that is open at the as-of time or ended shortly before: a model of discharge is
asked about on that day. Nights are midnights passed in the hospital's own offset. Stays in other hospitals are invisible, so a count of
earlier ones is a lower bound.
"""

import datetime as dt

import msgspec

from gateway.features.context import Chart, Target
from gateway.features.findings import chart_not_in_use
from gateway.features.manifest import NewestInStay, NightsOfStay, ProcedureInStay, StaysCounted, UrgentStay
from gateway.features.outcome import Shown, concluded_absent, evidence_of, found, not_usable, unsearched_group, unseen_group
from gateway.features.readings import choose_at_instant, last_instant
from gateway.features.stays import FoundStay, dated_stays
from gateway.features.value import Evidence, InputState, InputValue
from gateway.fhir.group import Group
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import Stay

ADMITTED_WITHIN = dt.timedelta(hours=24)  # from the end of an emergency visit to the admission that followed from it
NO_STAY = "no inpatient stay is open or ended lately"
ELSEWHERE = "stays in other hospitals are not seen"


def evidence_of_stay(found_stay: FoundStay) -> Evidence:
    """Return an Encounter as evidence."""
    return Evidence(source=found_stay.stay.source, raw_value=found_stay.stay.class_code, time=found_stay.start)


def _without_stay(target: Target, chart: Chart) -> InputValue:
    return unseen_group(target, chart, Group.ENCOUNTERS) or not_usable(target, InputState.MISSING, NO_STAY)


def nights_of_stay(target: Target, _feature: NightsOfStay, chart: Chart) -> InputValue:
    """Return the midnights between the first and the last day of the index stay."""
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    nights = (stay.end.astimezone(_zone(stay.stay)).date() - stay.start.astimezone(_zone(stay.stay)).date()).days
    text = "so far" if stay.stay.end is None else "to the discharge"
    return found(target, Shown(float(nights), stay.start, text, (evidence_of_stay(stay),), aged_from=stay.end))


def _zone(stay: Stay) -> dt.tzinfo:
    """Return the offset in which the hospital wrote the beginning of the stay."""
    if stay.start is None:
        return dt.UTC
    try:
        return dt.datetime.fromisoformat(stay.start.text).tzinfo or dt.UTC
    except ValueError:  # a date alone
        return dt.UTC


def urgent_stay(target: Target, feature: UrgentStay, chart: Chart) -> InputValue:
    """Return 1 for an urgent admission: by its priority, else by an emergency visit it followed from; 0 for an elective one.

    Where neither is known, whether it was urgent is not known.
    """
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    shown = Shown(1.0, stay.start, "", (evidence_of_stay(stay),), aged_from=stay.end)
    if any(code in feature.urgent for code in stay.stay.priority):
        return found(target, msgspec.structs.replace(shown, text="urgent by its priority"))
    if any(code in feature.elective for code in stay.stay.priority):
        return found(target, msgspec.structs.replace(shown, value=0.0, text="elective by its priority"))
    for visit in dated_stays(chart.record.stays, (feature.emergency_class,), chart.as_of):
        if visit.start <= stay.start <= visit.end + ADMITTED_WITHIN:
            both = (evidence_of_stay(stay), evidence_of_stay(visit))
            return found(target, msgspec.structs.replace(shown, text="admitted from an emergency visit", evidence=both))
    unseen = unseen_group(target, chart, Group.ENCOUNTERS)
    return unseen or not_usable(target, InputState.MISSING, "nothing says whether the admission was urgent", shown)


def stays_counted(target: Target, feature: StaysCounted, chart: Chart) -> InputValue:
    """Return how many stays of these classes ended in the window before the index stay began."""
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    unsearched = unsearched_group(target, chart, Group.ENCOUNTERS)
    if unsearched is not None:
        return unsearched
    since = stay.start - dt.timedelta(days=feature.within_days)
    earlier = [
        other
        for other in dated_stays(chart.record.stays, feature.classes, chart.as_of)
        if other.stay is not stay.stay and since <= other.end and other.start < stay.start and not _led_to(other, stay, feature)
    ]
    evidence = tuple(evidence_of_stay(other) for other in earlier) or (evidence_of_stay(stay),)
    return found(target, Shown(float(len(earlier)), stay.start, ELSEWHERE, evidence, aged_from=stay.end))


def _led_to(other: FoundStay, stay: FoundStay, feature: StaysCounted) -> bool:
    """Tell whether a visit is the one the index stay followed from: it is part of it, not one before."""
    return feature.without_index and stay.start <= other.end + ADMITTED_WITHIN


def newest_in_stay(target: Target, feature: NewestInStay, chart: Chart) -> InputValue:
    """Return the newest usable value measured in the index stay; one long before its end is used with a caution."""
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    unseen = unseen_group(target, chart, chart.terminology.concept(feature.concept).group)
    if unseen is not None:
        return unseen
    readings = chart.readings(feature.concept)
    newest = next((reading for reading in readings.usable() if stay.start <= reading.at <= stay.end), None)
    if newest is None:
        return not_usable(target, InputState.MISSING, "nothing usable was measured in this stay")
    choice = choose_at_instant(readings.at_instant(newest.at))
    if choice.reading is None:
        return not_usable(target, InputState.INCONSISTENT, "different numbers at one time", Shown(time=newest.at))
    shown = Shown(choice.reading.value, newest.at, "", (evidence_of(choice.reading.source),), aged_from=stay.end)
    if stay.end - newest.at <= dt.timedelta(hours=feature.hours_before_end_max):
        return found(target, shown)
    words = f"measured more than {feature.hours_before_end_max:g} hours before the end of the stay"
    return found(target, shown, (Reason(ReasonCode.CAUTION, f"early:{target.name}", words),))


def procedure_in_stay(target: Target, _feature: ProcedureInStay, chart: Chart) -> InputValue:
    """Return 1 when any procedure was done in the index stay, 0 only by the absence rule; an undated one leaves it open."""
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    procedures = [problem for problem in chart.record.problems if problem.procedure]
    done = [one for one in procedures if one.onset is not None and stay.start <= last_instant(one.onset) and one.onset.at <= stay.end]
    if done:
        evidence = tuple(Evidence(source=one.source, raw_value=one.text, time=one.onset.at if one.onset else None) for one in done)
        return found(target, Shown(1.0, stay.start, ", ".join(one.text for one in done if one.text), evidence, aged_from=stay.end))
    if any(one.onset is None for one in procedures):
        return not_usable(target, InputState.MISSING, "an undated procedure is on record")
    return unsearched_group(target, chart, Group.PROCEDURES) or chart_not_in_use(target, chart) or concluded_absent(target)
