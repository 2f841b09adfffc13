"""Yes or no from Conditions and Procedures: "yes" when recorded, "no" only by the absence rule (rules 3)."""

import datetime as dt

import msgspec

from gateway.features.context import Chart, Target
from gateway.features.manifest import ConditionPresent, Exclusion
from gateway.features.outcome import Shown, concluded_absent, found, not_usable, unsearched_group
from gateway.features.patient import resolve_sex
from gateway.features.readings import last_instant
from gateway.features.stays import CHART_IN_USE_MONTHS
from gateway.features.value import Evidence, InputState, InputValue
from gateway.fhir.group import Group, GroupState
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import FhirTime, Problem

LISTED_MAX = 5  # how many unrecognised entries a reason spells out


def condition_present(target: Target, feature: ConditionPresent, chart: Chart) -> InputValue:
    """Return 1 when recorded; else why "no" may not be concluded; else 0 by the absence rule."""
    members: list[Problem] = []
    doubtful: list[Problem] = []
    for problem in chart.record.problems:
        if problem.procedure and not feature.procedures:
            continue
        if feature.group not in problem.groups and feature.group not in problem.possible_groups:
            continue
        counts = _counts(problem, feature, chart.as_of)
        if counts is None or (counts and (feature.group not in problem.groups or not problem.confirmed)):
            doubtful.append(problem)
        elif counts:
            members.append(problem)
    if members:
        return found(target, shown_problems(members, 1.0))
    if doubtful:
        return _doubtful(target, feature, doubtful)
    return _absent(target, feature, chart)


def _counts(problem: Problem, feature: ConditionPresent, as_of: dt.datetime) -> bool | None:
    """Tell whether the entry meets scope and window; None where its dates, or codings that contradict each other, leave that open."""
    if any(group in problem.groups for group in feature.not_groups):
        return None if feature.group in problem.groups else False
    if feature.scope == "active" and not _active_at(problem, as_of):
        return False
    if feature.within_days is None:
        return True
    dates = [time for time in (problem.onset, problem.recorded) if time is not None]
    if not dates:
        return None
    since = as_of - dt.timedelta(days=feature.within_days)
    return any(last_instant(time) >= since for time in dates)


def _active_at(problem: Problem, as_of: dt.datetime) -> bool:
    """An end decides where one is known; else the status, which is today's (rules 5)."""
    if problem.abated is not None:
        return last_instant(problem.abated) > as_of
    return problem.active


def _doubtful(target: Target, feature: ConditionPresent, doubtful: list[Problem]) -> InputValue:
    names = ", ".join(sorted({problem.text or "entry without code or text" for problem in doubtful})[:LISTED_MAX])
    state = InputState.INCONSISTENT if feature.unconfirmed else InputState.MISSING
    detail = f"could be {feature.group}, not recognised or not confirmed: {names}"
    return not_usable(target, state, detail, shown_problems(doubtful, None), feature.unconfirmed or "")


def _absent(target: Target, feature: ConditionPresent, chart: Chart) -> InputValue:
    unsearched = unsearched_group(target, chart, Group.CONDITIONS) or _unseen_procedures(target, feature, chart)
    absent = unsearched or chart_not_in_use(target, chart) or concluded_absent(target)
    if absent.usable and feature.procedures and chart.group_state(Group.PROCEDURES) is GroupState.NOT_SEARCHED:
        caution = Reason(ReasonCode.CAUTION, "procedures_not_searched", "concluded from conditions alone")
        return msgspec.structs.replace(absent, reasons=(*absent.reasons, caution))
    return absent


def _unseen_procedures(target: Target, feature: ConditionPresent, chart: Chart) -> InputValue | None:
    """Procedures that were asked for and did not come leave absence open; where nobody asked for any, conditions decide alone."""
    if not feature.procedures or chart.group_state(Group.PROCEDURES) is GroupState.NOT_SEARCHED:
        return None
    return unsearched_group(target, chart, Group.PROCEDURES)


def chart_not_in_use(target: Target, chart: Chart) -> InputValue | None:
    """Return why the chart cannot be trusted to show an absence, or None when it is in use."""
    if chart.in_use():
        return None
    detail = f"no encounter in the last {CHART_IN_USE_MONTHS} months: an empty list proves nothing"
    return unsearched_group(target, chart, Group.ENCOUNTERS) or not_usable(target, InputState.MISSING, detail)


def shown_problems(problems: list[Problem], value: float | None) -> Shown:
    """Return entries as they are shown beside a yes or no: their words, the earliest date, and where they stand."""
    chosen = sorted(problems, key=lambda problem: (problem.source.resource_type, problem.source.id))
    times = [time.at for problem in chosen if (time := _dated(problem)) is not None]
    evidence = tuple(
        Evidence(source=problem.source, raw_value=problem.text, time=time.at if (time := _dated(problem)) else None) for problem in chosen
    )
    return Shown(value, min(times, default=None), ", ".join(dict.fromkeys(problem.text for problem in chosen)), evidence)


def _dated(problem: Problem) -> FhirTime | None:
    return problem.onset or problem.recorded


def exclusion_found(exclusion: Exclusion, chart: Chart) -> InputValue:
    """Return whether an exclusion holds.

    Someone whom it cannot concern needs no proof of its absence; a record of it counts all the same.
    """
    target = Target(exclusion.name, exclusion.feature.group, "1")
    value = condition_present(target, exclusion.feature, chart)
    if not value.usable and len(exclusion.sexes) == 1:
        sex = resolve_sex(chart.record.patient)
        if isinstance(sex, str) and sex not in exclusion.sexes:
            return concluded_absent(target)
    return value
