"""Conditions and Procedures become problems.

Absence may be concluded only where every record that could belong to a group was understood (rules 3). So a Condition or Procedure that is
not used, because it cannot be read or because something unknown changes its meaning, is listed as dropped and leaves a problem without
codes and words behind: it proves nothing, and keeps anyone from concluding "no".
"""

import datetime as dt

from gateway.record.drop import DropReason
from gateway.record.received import Reading, source_of, status_code, text_of
from gateway.record.resource import Condition, Procedure
from gateway.record.values import FhirTime, Problem, SourceRef

NOT_ACTIVE = frozenset({"inactive", "remission", "resolved"})  # condition-clinical
NEVER_TRUE = frozenset({"refuted", "entered-in-error"})  # condition-ver-status
NOT_CONFIRMED = frozenset({"unconfirmed", "provisional", "differential"})
NOT_DONE = frozenset({"not-done", "entered-in-error", "preparation"})  # event-status


def read_condition(reading: Reading, condition: Condition, resource_id: str, raw: bytes) -> Problem | None:
    """Return the problem, or None when it is another patient's, or was never true."""
    source = source_of(condition, resource_id, raw)
    before = len(reading.drops)
    if not reading.may_use(condition, condition.subject, resource_id):
        return None if _is_foreign(reading, before) else unreadable_problem(reading, source, procedure=False)
    verification = status_code(condition.verification_status)
    if verification in NEVER_TRUE:
        reading.drop("Condition", resource_id, DropReason.VERIFICATION, verification)
        return None
    codes, text = reading.codes(condition.code), text_of(condition.code)
    groups, possible = reading.terminology.problem_groups(codes, text)
    onset_period, abatement_period = condition.onset_period, condition.abatement_period
    onset = condition.onset_date_time or (onset_period.start if onset_period is not None else None)
    abated = condition.abatement_date_time or (abatement_period.end or abatement_period.start if abatement_period is not None else None)
    return Problem(
        source=source,
        codes=codes,
        text=text,
        groups=groups,
        possible_groups=possible,
        active=status_code(condition.clinical_status) not in NOT_ACTIVE,
        confirmed=verification not in NOT_CONFIRMED,
        onset=reading.time(condition, resource_id, "onset", onset),
        abated=reading.time(condition, resource_id, "abatement", abated),
        recorded=reading.time(condition, resource_id, "recordedDate", condition.recorded_date),
    )


def read_procedure(reading: Reading, procedure: Procedure, resource_id: str, raw: bytes) -> Problem | None:
    """Return the problem a Procedure stands for (onset = its start, abated = its end), or None when it was not done."""
    source = source_of(procedure, resource_id, raw)
    before = len(reading.drops)
    if not reading.may_use(procedure, procedure.subject, resource_id):
        return None if _is_foreign(reading, before) else unreadable_problem(reading, source, procedure=True)
    if procedure.status in NOT_DONE:
        reading.drop("Procedure", resource_id, DropReason.STATUS, procedure.status or "")
        return None
    codes, text = reading.codes(procedure.code), text_of(procedure.code)
    groups, possible = reading.terminology.problem_groups(codes, text)
    start, end = _performed(reading, procedure, resource_id)
    return Problem(
        source=source,
        codes=codes,
        text=text,
        groups=groups,
        possible_groups=possible,
        onset=start,
        abated=end,
        procedure=True,
    )


def unreadable_problem(reading: Reading, source: SourceRef, *, procedure: bool) -> Problem:
    """Return the problem that could be anything: see the module."""
    _, possible = reading.terminology.problem_groups((), "")
    return Problem(source=source, codes=(), text="", groups=frozenset(), possible_groups=possible, confirmed=False, procedure=procedure)


def _is_foreign(reading: Reading, before: int) -> bool:
    return any(entry.reason == DropReason.OTHER_PATIENT for entry in reading.drops[before:])


def _performed(reading: Reading, procedure: Procedure, resource_id: str) -> tuple[FhirTime | None, FhirTime | None]:
    period = procedure.performed_period
    if period is None:
        return reading.time(procedure, resource_id, "performedDateTime", procedure.performed_date_time), None
    return (
        reading.time(procedure, resource_id, "performedPeriod.start", period.start),
        reading.time(procedure, resource_id, "performedPeriod.end", period.end),
    )


def latest(*times: FhirTime | None) -> FhirTime | None:
    """Return the latest of the times that are known."""
    return max((time for time in times if time is not None), key=_instant, default=None)


def _instant(time: FhirTime) -> dt.datetime:
    return time.at
