"""How often something was done: "yes" when often enough on record, "no" only by the absence rule (rules 3)."""

import datetime as dt

from gateway.features.context import Chart, Target
from gateway.features.findings import LISTED_MAX, chart_not_in_use, shown_problems
from gateway.features.manifest import ProceduresCounted
from gateway.features.outcome import concluded_absent, found, not_usable, unsearched_group
from gateway.features.readings import last_instant
from gateway.features.value import InputState, InputValue
from gateway.fhir.group import Group
from gateway.record.values import Problem


def procedures_counted(target: Target, feature: ProceduresCounted, chart: Chart) -> InputValue:
    """Return 1 where the Procedures are enough. Fewer of them, an undated one, or an entry of the doubt group leaves it open: MISSING."""
    wanted = {(code.system, code.code) for code in feature.codes}
    since = chart.as_of - dt.timedelta(days=feature.within_days)
    counted: list[Problem] = []
    open_ones: list[Problem] = []
    for problem in chart.record.problems:
        if problem.procedure and any((code.system, code.code) in wanted for code in problem.codes):
            ended = problem.abated or problem.onset
            if ended is None:
                open_ones.append(problem)
            elif last_instant(ended) >= since:
                counted.append(problem)
        elif _is_doubtful(problem, feature.doubt_group, chart.as_of, since):
            open_ones.append(problem)
    if len(counted) >= feature.count_min:
        return found(target, shown_problems(counted, 1.0))
    if counted or open_ones:
        return _left_open(target, feature, counted, open_ones)
    return unsearched_group(target, chart, Group.PROCEDURES) or chart_not_in_use(target, chart) or concluded_absent(target)


def _is_doubtful(problem: Problem, group: str, as_of: dt.datetime, since: dt.datetime) -> bool:
    """Tell whether an entry that is none of the counted ones could still mean the same, now."""
    if group not in problem.groups and group not in problem.possible_groups:
        return False
    if problem.procedure:
        ended = problem.abated or problem.onset
        return ended is None or last_instant(ended) >= since
    return problem.active and (problem.abated is None or last_instant(problem.abated) > as_of)


def _left_open(target: Target, feature: ProceduresCounted, counted: list[Problem], open_ones: list[Problem]) -> InputValue:
    names = ", ".join(sorted({problem.text or "entry without code or text" for problem in (*counted, *open_ones)})[:LISTED_MAX])
    words = f"{len(counted)} on record within {feature.within_days} days, {feature.count_min} needed; recorded: {names}"
    return not_usable(target, InputState.MISSING, words, shown_problems([*counted, *open_ones], None))
