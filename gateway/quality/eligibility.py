"""For whom the model is made: what takes every output away, and whether it keeps the fallbacks shut as well."""

import datetime as dt
from collections.abc import Mapping

import msgspec

from gateway.features.manifest import Age, Eligibility, Exclusion, InputSpec, ModelManifest, Setting, SexAtAsOf
from gateway.features.value import InputState, InputValue
from gateway.quality.grading import withhold
from gateway.quality.report import SettingSource
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import PatientFacts

_SETTING_WORDS = {
    SettingSource.REQUEST: "stated in the request",
    SettingSource.OPEN_ENCOUNTER: "by the open encounter",
    SettingSource.MANIFEST_DEFAULT: "by default",
}
_SETTING_UNKNOWN = {
    SettingSource.NOT_FETCHED: Reason(ReasonCode.NOT_FETCHED, "care_setting", "an open stay may be among those that did not arrive"),
    SettingSource.NOT_ALLOWED: Reason(ReasonCode.NOT_ALLOWED, "care_setting", "not allowed to read encounters, an open stay is not seen"),
}


class Eligible(msgspec.Struct, frozen=True, kw_only=True):
    """Reasons that concern the patient as a whole. `shuts_fallbacks`: no other score may answer either."""

    reasons: tuple[Reason, ...]
    shuts_fallbacks: bool
    inputs: Mapping[str, InputValue]  # age and sex, regraded where they are the reason


def judge_eligibility(
    manifest: ModelManifest,
    inputs: Mapping[str, InputValue],
    patient: PatientFacts,
    as_of: dt.datetime,
    setting: tuple[Setting, SettingSource],
) -> Eligible:
    """Return every reason that takes all outputs away.

    A sex that is not known or not supported shuts no fallback by itself: one that uses sex lacks a parameter then (rules 4).
    """
    eligibility = manifest.eligibility
    general = [*_record_reasons(patient, as_of), *_setting_reasons(eligibility, *setting)]
    regraded: dict[str, InputValue] = {}
    for spec in manifest.inputs:
        if isinstance(spec.feature, Age):
            value = regraded[spec.name] = _grade_age(inputs[spec.name], eligibility)
            if not value.usable and not _eligible_throughout(value, eligibility):
                general += value.reasons
    for exclusion in eligibility.exclusions:
        general += _exclusion_reasons(exclusion, inputs[exclusion.name])
    sexes = [spec for spec in manifest.inputs if isinstance(spec.feature, SexAtAsOf)]
    sex = [reason for spec in sexes for reason in _grade_sex(spec, inputs, eligibility, regraded)]
    return Eligible(reasons=(*general, *sex), shuts_fallbacks=bool(general), inputs=regraded)


def _record_reasons(patient: PatientFacts, as_of: dt.datetime) -> list[Reason]:
    reasons: list[Reason] = []
    if patient.deceased and (patient.deceased_at is None or patient.deceased_at.at <= as_of):
        reasons.append(Reason(ReasonCode.DECEASED, "", "the patient has died"))
    if patient.replaced or not patient.active:
        reasons.append(Reason(ReasonCode.RECORD_REPLACED, "", "this record is inactive or was replaced by another"))
    return reasons


def _setting_reasons(eligibility: Eligibility, setting: Setting, source: SettingSource) -> list[Reason]:
    if source in _SETTING_UNKNOWN:
        return [_SETTING_UNKNOWN[source]]
    if setting in eligibility.care_settings:
        return []
    return [Reason(ReasonCode.CARE_SETTING, "", f"not made for the care setting {setting} ({_SETTING_WORDS[source]})")]


def _grade_age(value: InputValue, eligibility: Eligibility) -> InputValue:
    """Give AGE_OUT_OF_RANGE where no age the patient can have is inside the range."""
    ends = (value.tensor_value,) if value.usable else value.interval
    if ends is None or any(eligibility.age_years.holds(end) for end in ends):
        return value
    words = f"made for {eligibility.age_years.low:g} to {eligibility.age_years.high:g} years"
    return withhold(value, InputState.OUT_OF_MODEL_RANGE, Reason(ReasonCode.AGE_OUT_OF_RANGE, "", words))


def _eligible_throughout(value: InputValue, eligibility: Eligibility) -> bool:
    """Tell whether an age that is only an interval is eligible at both ends: then only outputs that compute with it are lost."""
    return value.interval is not None and all(eligibility.age_years.holds(end) for end in value.interval)


def _grade_sex(
    spec: InputSpec, inputs: Mapping[str, InputValue], eligibility: Eligibility, regraded: dict[str, InputValue]
) -> tuple[Reason, ...]:
    value = inputs[spec.name]
    if not eligibility.uses_sex:
        return ()
    if value.usable and value.text not in eligibility.sexes:
        reason = Reason(ReasonCode.SEX_UNSUPPORTED, "", f"not made for {value.text} patients")
        value = regraded[spec.name] = withhold(value, InputState.OUT_OF_MODEL_RANGE, reason)
    return () if value.usable else value.reasons


def _exclusion_reasons(exclusion: Exclusion, value: InputValue) -> tuple[Reason, ...]:
    """An exclusion that holds gives its own code; one that cannot be judged withholds as well, with the reason why not."""
    if not value.usable:
        return value.reasons
    holds = bool(value.tensor_value) is (exclusion.when == "present")
    return (Reason(ReasonCode(exclusion.reason), "", exclusion.words or value.text),) if holds else ()
