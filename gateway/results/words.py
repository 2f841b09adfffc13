"""Reasons, states, verdicts and rungs in plain words for clinicians. One table each; a test proves that none is missing."""

from collections.abc import Iterable, Mapping

from gateway.features.value import InputState, InputValue
from gateway.quality.report import QualityReport, SettingSource, Verdict
from gateway.record.reason import Reason, ReasonCode
from gateway.results.answer import ModelAnswer, Rung

REASONS: Mapping[ReasonCode, str] = {
    ReasonCode.AGE_OUT_OF_RANGE: "the patient's age is outside the range the model was made for",
    ReasonCode.SEX_UNSUPPORTED: "the model has no equation for the recorded sex",
    ReasonCode.PREGNANCY: "the patient is pregnant",
    ReasonCode.PRIOR_CVD: "known cardiovascular disease, already above primary-prevention risk",
    ReasonCode.KIDNEY_REPLACEMENT: "kidney replacement therapy",
    ReasonCode.NOT_ELIGIBLE_EGFR: "kidney function is outside the range the model was made for",
    ReasonCode.NOT_ELIGIBLE_CONDITION: "the model is made only for patients with a disease that is not recorded here",
    ReasonCode.VALUE_OUT_OF_MODEL_RANGE: "a real value lies outside the range the model was made for",
    ReasonCode.CARE_SETTING: "the model is not made for this care setting",
    ReasonCode.DECEASED: "the patient is recorded as deceased",
    ReasonCode.RECORD_REPLACED: "the patient record is inactive or was replaced by another",
    ReasonCode.MISSING_INPUT: "missing",
    ReasonCode.NOT_FETCHED: "could not be fetched",
    ReasonCode.NOT_ALLOWED: "may not be seen",
    ReasonCode.STALE_INPUT: "too old",
    ReasonCode.IMPLAUSIBLE_VALUE: "impossible value, a data error",
    ReasonCode.INCONSISTENT: "the record contradicts itself",
    ReasonCode.NOT_CONTEMPORANEOUS: "the values are too far apart in time",
    ReasonCode.UNSTABLE_CREATININE: "creatinine is not steady",
    ReasonCode.CONFIG_MISSING: "a setting of this site is missing",
    ReasonCode.AGE_12_17: "12 to 17 years: both sexes get the term for women, and there is no survival figure for this age",
    ReasonCode.RUNTIME_FAILURE: "the model could not be run",
    ReasonCode.CAUTION: "caution",
    ReasonCode.ASSUMED: "assumed",
}

STATES: Mapping[InputState, str] = {
    InputState.VALID: "used",
    InputState.CONCLUDED_ABSENT: "concluded absent",
    InputState.ASSUMED: "assumed",
    InputState.MISSING: "missing",
    InputState.STALE: "too old",
    InputState.IMPLAUSIBLE: "impossible",
    InputState.INCONSISTENT: "contradictory",
    InputState.OUT_OF_MODEL_RANGE: "outside the model's range",
    InputState.NOT_FETCHED: "could not be fetched",
    InputState.NOT_ALLOWED: "may not be seen",
    InputState.WITHHELD: "withheld",
}

VERDICTS: Mapping[Verdict, str] = {
    Verdict.SCORED: "scored",
    Verdict.SCORED_DEGRADED: "scored with cautions or in part",
    Verdict.FALLBACK: "no estimate from the model; a published fallback score answers under its own name",
    Verdict.INDETERMINATE: "no estimate",
    Verdict.NOT_APPLICABLE: "not applicable",
}

RUNGS: Mapping[Rung, str] = {
    Rung.GPU: "model on GPU",
    Rung.CPU: "model on CPU",
    Rung.REMOTE: "model on another server",
    Rung.FALLBACK_SCORE: "fallback score",
    Rung.NONE: "no number",
}

SETTING_SOURCES: Mapping[SettingSource, str] = {
    SettingSource.REQUEST: "as requested",
    SettingSource.OPEN_ENCOUNTER: "from the open encounter",
    SettingSource.MANIFEST_DEFAULT: "by default",
    SettingSource.NOT_FETCHED: "not known: encounters could not be fetched",
    SettingSource.NOT_ALLOWED: "not known: encounters may not be seen",
}

# Advisory reasons read better as they are: their subject says what.
_ADVISORY_WORDS: Mapping[str, str] = {
    "newer_unusable": "a newer value exists that cannot be used",
    "old": "rather old",
    "conflict": "different values stand at one time, and a fixed rule chose",
    "setting_unknown": "nothing says in which care setting it was measured",
}


HOURS_COUNT_DAYS = 2.0  # the longest limit that the data sheets state in hours (48 h)


def reason_words(reason: Reason, answer: ModelAnswer | None = None) -> str:
    """Return a reason in words; an exclusion is said in the manifest's own, so that nobody reads it as low risk."""
    if answer is not None and reason.withholds:
        for exclusion in answer.manifest.eligibility.exclusions:
            if exclusion.reason == reason.code and exclusion.words:
                return exclusion.words
    subject = reason.subject.replace("_", " ")
    words = REASONS[reason.code]
    if reason.code in (ReasonCode.CAUTION, ReasonCode.ASSUMED):
        what, _, name = reason.subject.partition(":")
        return f"{words}: {name.replace('_', ' ')}: {_ADVISORY_WORDS[what]}" if name and what in _ADVISORY_WORDS else f"{words}: {subject}"
    return f"{subject}: {words}" if subject else words


def reasons_words(reasons: Iterable[Reason], answer: ModelAnswer | None = None) -> str:
    """Return several reasons in words, each once; what is missing, old, ... is named together."""
    together: dict[str, list[str]] = {}
    for reason in reasons:
        words = reason_words(reason, answer)
        subject = reason.subject.replace("_", " ")
        plain = subject and words == f"{subject}: {REASONS[reason.code]}"
        subjects = together.setdefault(REASONS[reason.code] if plain else words, [])
        if plain and subject not in subjects:
            subjects.append(subject)
    return "; ".join(f"{words}: {', '.join(subjects)}" if subjects else words for words, subjects in together.items())


def setting_words(report: QualityReport) -> str:
    """Say which care setting was taken and how it became known."""
    return f"care setting {report.setting} ({SETTING_SOURCES[report.setting_source]})"


def verdict_words(answer: ModelAnswer) -> str:
    """Return the verdict with its reasons, as one sentence without a full stop."""
    reasons = reasons_words(answer.report.reasons, answer)
    return VERDICTS[answer.verdict] + (f": {reasons}" if reasons else "")


def terms_words(terms: Mapping[str, float]) -> str:
    """Return a model's terms in words, the largest first: on the model's own scale, and as association (rules 2)."""
    ordered = sorted(terms.items(), key=lambda term: (-abs(term[1]), term[0]))
    shown = ", ".join(f"{name.replace('_', ' ')} {value:+.3g}" for name, value in ordered)
    return f"Terms on the model's own scale (association, not cause; not percentage points): {shown}"


def value_words(value: InputValue) -> str:
    """Return an input's value with unit and day, for people; with the time of day too where hours decide whether it still counts."""
    if value.value is None:
        return STATES[value.state]
    if value.unit in ("", "1"):
        shown = value.text or f"{value.value:.4g}"
    else:
        shown = f"{value.value:.4g} {value.unit}" + (f", {value.text}" if value.text else "")
    if value.time is None:
        return shown
    hours_count = value.age_limit.hard_days is not None and value.age_limit.hard_days <= HOURS_COUNT_DAYS
    return f"{shown} ({value.time.isoformat(timespec='minutes') if hours_count else value.time.date().isoformat()})"
