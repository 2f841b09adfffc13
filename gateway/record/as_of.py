"""As-of: hiding everything that was effective, issued or recorded later (rules 5). `meta.lastUpdated` plays no part.

Statuses stay as they are today, and the answer says so, with two exceptions that hiding the later event itself demands: a condition that
abated later was still there, and a stay that ended later was still open.
"""

import datetime as dt

import msgspec

from gateway.record.values import FhirTime, Measurement, MedicationOrder, PatientFacts, PatientRecord, Problem, Stay

OPEN_STATUS = "in-progress"
LAST_MICROSECOND = 999_999


def hide_later(record: PatientRecord, as_of: dt.datetime) -> PatientRecord:
    """Return the record as far as it was known at `as_of` (aware); the order of its values stays.

    An as-of time in whole seconds means that second to its end: systems stamp `issued` in milliseconds beside an effective time in seconds.
    """
    if as_of.microsecond == 0:
        as_of = as_of.replace(microsecond=LAST_MICROSECOND)
    return msgspec.structs.replace(
        record,
        patient=_patient_at(record.patient, as_of),
        measurements=tuple([found for found in record.measurements if _measured_by(found, as_of)]),
        problems=tuple([_problem_at(found, as_of) for found in record.problems if _recorded_by(found, as_of)]),
        medications=tuple([_order_at(found, as_of) for found in record.medications if not _is_later(found.authored, as_of)]),
        stays=tuple([_stay_at(found, as_of) for found in record.stays if not _is_later(found.start, as_of)]),
    )


def _is_later(time: FhirTime | None, as_of: dt.datetime) -> bool:
    return time is not None and time.at > as_of


def _measured_by(found: Measurement, as_of: dt.datetime) -> bool:
    time, issued = found.time, found.issued
    return (time is None or time.at <= as_of) and (issued is None or issued.at <= as_of)


def _recorded_by(found: Problem, as_of: dt.datetime) -> bool:
    return not _is_later(found.onset, as_of) and not _is_later(found.recorded, as_of)


def _problem_at(found: Problem, as_of: dt.datetime) -> Problem:
    if not _is_later(found.abated, as_of):
        return found
    return msgspec.structs.replace(found, abated=None, active=True)


def _order_at(found: MedicationOrder, as_of: dt.datetime) -> MedicationOrder:
    return msgspec.structs.replace(found, ended=None) if _is_later(found.ended, as_of) else found


def _stay_at(found: Stay, as_of: dt.datetime) -> Stay:
    return msgspec.structs.replace(found, end=None, status=OPEN_STATUS) if _is_later(found.end, as_of) else found


def _patient_at(patient: PatientFacts, as_of: dt.datetime) -> PatientFacts:
    if not _is_later(patient.deceased_at, as_of):
        return patient
    return msgspec.structs.replace(patient, deceased=False, deceased_at=None)
