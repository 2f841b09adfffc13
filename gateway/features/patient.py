"""Age and sex of the patient at the as-of time (rules 4)."""

import calendar
import datetime as dt

from gateway.features.context import Chart, Target
from gateway.features.manifest import SexAtAsOf
from gateway.features.outcome import Shown, found, not_usable, withheld_for
from gateway.features.value import Evidence, InputState, InputValue
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import FhirTime, PatientFacts, Precision

_SEX_PARAMETERS = {"male-typical": "male", "female-typical": "female"}  # HL7 patient-sexParameterForClinicalUse
_SEXES = ("female", "male")
_NOT_KNOWN = "unknown"  # administrative-gender: says that nobody knows, nothing about the patient


def age_of(target: Target, chart: Chart) -> InputValue:
    """Return completed years. Where the birth date leaves two ages open, `interval` holds both and there is no value."""
    patient = chart.record.patient
    evidence = (Evidence(source=patient.source, raw_value=patient.birth_date.text if patient.birth_date else None),)
    if patient.birth_date is None:
        return not_usable(target, InputState.MISSING, "no birth date")
    first, last = birth_dates(patient.birth_date)
    today = chart.as_of.date()
    low, high = completed_years(last, today), completed_years(first, today)
    if high < 0:
        return not_usable(target, InputState.IMPLAUSIBLE, "born after the as-of time", Shown(evidence=evidence))
    if low == high:
        return found(target, Shown(float(high), evidence=evidence))
    detail = f"born {patient.birth_date.text}: {max(low, 0)} or {high} years"
    return InputValue(
        name=target.name,
        concept=target.concept,
        state=InputState.MISSING,
        unit=target.unit,
        evidence=evidence,
        text=detail,
        reasons=(Reason(ReasonCode.MISSING_INPUT, target.name, detail),),
        interval=(float(max(low, 0)), float(high)),
    )


def birth_dates(birth: FhirTime) -> tuple[dt.date, dt.date]:
    """Return the first and the last day a birth date can mean. The text is read, not the instant: a birthday has no time zone."""
    year = int(birth.text[:4])
    if birth.precision is Precision.YEAR:
        return dt.date(year, 1, 1), dt.date(year, 12, 31)
    month = int(birth.text[5:7])
    if birth.precision is Precision.MONTH:
        return dt.date(year, month, 1), dt.date(year, month, calendar.monthrange(year, month)[1])
    day = dt.date(year, month, int(birth.text[8:10]))
    return day, day


def completed_years(birth: dt.date, today: dt.date) -> int:
    """Return completed years; someone born on 29 February completes a year on 1 March of a common year."""
    return today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))


def resolve_sex(patient: PatientFacts, name: str = "sex") -> str | Reason:
    """Return `female` or `male`, or the reason why neither may be used.

    The sex parameter for clinical use decides where present. Else recorded sex and gender, where they agree or only one is given; a
    "unknown" beside a given one counts as not given.
    """
    if patient.sex_parameter is not None:
        return _SEX_PARAMETERS.get(patient.sex_parameter) or Reason(ReasonCode.SEX_UNSUPPORTED, "", "sex parameter for clinical use")
    given = [said for said in (patient.gender, *patient.recorded_sexes) if said]
    stated = set(given) - {_NOT_KNOWN}
    if len(stated) > 1:
        return Reason(ReasonCode.INCONSISTENT, name, "recorded sex and gender differ")
    if not given:
        return Reason(ReasonCode.MISSING_INPUT, name, "neither gender nor recorded sex")
    sex = stated.pop() if stated else _NOT_KNOWN
    return sex if sex in _SEXES else Reason(ReasonCode.SEX_UNSUPPORTED, "", f"sex {sex}")


def sex_of(target: Target, feature: SexAtAsOf, chart: Chart) -> InputValue:
    """Return sex for clinical use, encoded for the graph."""
    evidence = (Evidence(source=chart.record.patient.source, raw_value=chart.record.patient.gender),)
    return sex_value(target, feature, resolve_sex(chart.record.patient, target.name), evidence)


def sex_value(target: Target, feature: SexAtAsOf, sex: str | Reason, evidence: tuple[Evidence, ...] = ()) -> InputValue:
    """Encode a resolved sex, or carry the reason why there is none."""
    if isinstance(sex, Reason):
        state = InputState.INCONSISTENT if sex.code is ReasonCode.INCONSISTENT else InputState.MISSING
        return withheld_for(target, state, sex, Shown(evidence=evidence))
    if sex not in feature.encoding:
        return withheld_for(target, InputState.MISSING, Reason(ReasonCode.SEX_UNSUPPORTED, "", f"sex {sex}"), Shown(evidence=evidence))
    return found(target, Shown(feature.encoding[sex], text=sex, evidence=evidence))
