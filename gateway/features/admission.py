"""What a hospital stay says: how long it was, whether it was urgent, what was measured and done in it, and which stays came before.

The index stay is the newest one of the manifest's classes that is open at the as-of time or ended shortly before: a model of discharge is
asked about on that day. Nights are midnights passed in the hospital's own offset. Stays in other hospitals are invisible, so a count of
earlier ones is a lower bound.
"""

import datetime as dt

import msgspec

from gateway.features.context import Chart, Target
from gateway.features.findings import chart_not_in_use, shown_problems
from gateway.features.manifest import NewestInStay, NightsOfStay, ProcedureInStay, StaysCounted, UrgentStay
from gateway.features.measured import chosen_value, nothing_usable
from gateway.features.outcome import Shown, concluded_absent, found, not_usable, unsearched_group, unseen_group
from gateway.features.readings import Readings, last_instant, newest
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
    zone = _zone(stay.stay)
    last = stay.stay.end.at if stay.stay.end is not None else stay.end  # a day alone is its own last day, not the one after
    nights = (last.astimezone(zone).date() - stay.start.astimezone(zone).date()).days
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
    """Return how many stays of these classes ended in the window before the index stay began.

    `without_index`: a visit that the index stay followed from belongs to it, and is none before it.
    """
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    unsearched = unsearched_group(target, chart, Group.ENCOUNTERS)
    if unsearched is not None:
        return unsearched
    since = stay.start - dt.timedelta(days=feature.within_days)
    until = stay.start - ADMITTED_WITHIN if feature.without_index else stay.start
    ended = dated_stays(chart.record.stays, feature.classes, chart.as_of)
    before = [other for other in ended if other.stay is not stay.stay and since <= other.end <= until]
    evidence = tuple(evidence_of_stay(other) for other in before) or (evidence_of_stay(stay),)
    return found(target, Shown(float(len(before)), stay.start, ELSEWHERE, evidence, aged_from=stay.end))


def newest_in_stay(target: Target, feature: NewestInStay, chart: Chart) -> InputValue:
    """Return the newest usable value measured in the index stay, by the rules of any newest value; one from long before its end is told."""
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    unseen = unseen_group(target, chart, chart.terminology.concept(feature.concept).group)
    if unseen is not None:
        return unseen
    within = [one for one in chart.measurements(feature.concept) if one.time is not None and stay.start <= one.time.at <= stay.end]
    readings = Readings(feature.concept, within, chart.terminology)
    choice = newest(readings)
    value = nothing_usable(target, readings) if choice is None else chosen_value(target, choice, readings)
    if not value.usable or value.time is None:
        return value
    early: tuple[Reason, ...] = ()
    if stay.end - value.time > dt.timedelta(hours=feature.hours_before_end_max):
        words = f"measured more than {feature.hours_before_end_max:g} hours before the end of the stay"
        early = (Reason(ReasonCode.CAUTION, f"early:{target.name}", words),)
    return msgspec.structs.replace(value, aged_from=stay.end, reasons=(*value.reasons, *early))


def procedure_in_stay(target: Target, _feature: ProcedureInStay, chart: Chart) -> InputValue:
    """Return 1 when any procedure was done in the index stay, 0 only by the absence rule; an undated one leaves it open."""
    stay = chart.index_stay
    if stay is None:
        return _without_stay(target, chart)
    procedures = [problem for problem in chart.record.problems if problem.procedure]
    done = [one for one in procedures if one.onset is not None and stay.start <= last_instant(one.onset) and one.onset.at <= stay.end]
    if done:
        return found(target, msgspec.structs.replace(shown_problems(done, 1.0), aged_from=stay.end))
    if any(one.onset is None for one in procedures):
        return not_usable(target, InputState.MISSING, "an undated procedure is on record")
    return unsearched_group(target, chart, Group.PROCEDURES) or chart_not_in_use(target, chart) or concluded_absent(target)
