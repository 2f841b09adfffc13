"""RiskAssessment (FHIR R4): one per model, one per fallback score under its own name (rules 1 and 2)."""

import datetime as dt
import html
from collections.abc import Iterable, Mapping

from gateway.features.manifest import Band, OutputSpec
from gateway.features.value import InputValue
from gateway.quality.report import Verdict
from gateway.record.reason import Reason, ReasonCode
from gateway.results.answer import AssessmentAnswer, FallbackAnswer, ModelAnswer, Prediction, Rung
from gateway.results.extension import (
    DATA_ABSENT_REASON,
    IDENTIFIER_SYSTEM,
    MODEL_SYSTEM,
    REASON,
    RUNG,
    SCORE,
    SCORE_RANGE,
    SCORE_SYSTEM,
    STAND_IN_FOR,
    VARIANT,
    VERDICT,
    code_extension,
    decimal_extension,
    plain_text,
    string_extension,
)
from gateway.results.inputs import input_extensions
from gateway.results.number import fallback_words, output_words, percent, score_number
from gateway.results.reference import business_identifier, device_url, source_reference, sources_of, subject_of
from gateway.results.words import RUNGS, reasons_words, setting_words, terms_words, value_words, verdict_words

XHTML = "http://www.w3.org/1999/xhtml"
# HL7's own RiskAssessment example: SNOMED CT 709510001 "Assessment of risk".
RISK_CODE = {"coding": [{"system": "http://snomed.info/sct", "code": "709510001", "display": "Assessment of risk"}]}
RISK_PROBABILITY = "http://terminology.hl7.org/CodeSystem/risk-probability"
OBSERVATION_VALUE = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
AI_ASSERTED = {"system": OBSERVATION_VALUE, "code": "AIAST", "display": "Artificial Intelligence asserted"}
DEVICE_ASSERTED = {"system": OBSERVATION_VALUE, "code": "DEVAST", "display": "device asserted"}

STATUS: Mapping[Verdict, str] = {
    Verdict.SCORED: "final",
    Verdict.SCORED_DEGRADED: "preliminary",
    Verdict.INDETERMINATE: "cancelled",
    Verdict.NOT_APPLICABLE: "final",
}
_ERROR_CODES = frozenset({ReasonCode.NOT_FETCHED, ReasonCode.IMPLAUSIBLE_VALUE, ReasonCode.RUNTIME_FAILURE})
RETROSPECTIVE = "Retrospective: what was effective, issued or recorded later is left out; statuses are today's."
Periods = Mapping[str, Mapping[str, str]]  # by output


def model_status(found: ModelAnswer) -> str:
    """Return the status by rules 1; where a fallback answered, the model's own reason decides."""
    if found.verdict is Verdict.FALLBACK:
        return STATUS.get(found.report.verdict, "cancelled")
    return STATUS[found.verdict]


def absent_reason(verdict: Verdict, reasons: Iterable[Reason]) -> str:
    """Return the data-absent-reason code where there is no number (rules 1)."""
    codes = {reason.code for reason in reasons if reason.withholds}
    if verdict is Verdict.NOT_APPLICABLE:
        return "not-applicable"
    if ReasonCode.NOT_ALLOWED in codes:
        return "masked"
    return "error" if codes & _ERROR_CODES else "unknown"


def model_risk_assessment(answer: AssessmentAnswer, found: ModelAnswer) -> dict[str, object]:
    """Return the model's RiskAssessment, with a prediction for every outcome, also where there is no number."""
    own = _own_inputs(found)
    resource: dict[str, object] = {
        "resourceType": "RiskAssessment",
        "meta": {"security": [AI_ASSERTED]},
        "text": narrative(_lines(answer, found)),
        "extension": [*answer_extensions(found), *input_extensions(own, answer.base_url)],
        "identifier": [{"system": IDENTIFIER_SYSTEM, "value": business_identifier(answer, found, found.manifest.name)}],
        "status": model_status(found),
        "method": {"coding": [_method(MODEL_SYSTEM, found)], "text": f"{found.manifest.title} {found.manifest.version}"},
        "code": RISK_CODE,
        "subject": subject_of(answer),
        "occurrenceDateTime": answer.as_of.isoformat(),
        "performer": {"reference": device_url(found.manifest.name, found.manifest.version)},
        "prediction": _predictions(answer, found),
        "note": [{"text": _note(answer, found)}],
    }
    basis = [source_reference(source, answer.base_url) for source in sources_of(_used(found, own))]
    if basis and found.predictions:
        resource["basis"] = basis
    return resource


def _used(found: ModelAnswer, own: list[InputValue]) -> list[InputValue]:
    """Return the inputs that the given numbers rest on: those that only a withheld output needs were not used."""
    if not found.report.withheld:
        return own
    outputs = found.manifest.outputs
    needed = {name for output in outputs if output.name not in found.report.withheld for name in output.needs}
    unused = {name for output in outputs for name in output.needs} - needed
    return [value for value in own if value.name not in unused]


def answer_extensions(found: ModelAnswer) -> list[dict[str, object]]:
    """Return verdict, rung, variant and reasons."""
    extensions = [code_extension(VERDICT, found.verdict.value), code_extension(RUNG, found.rung.value)]
    if found.report.variant and found.predictions:
        extensions.append(string_extension(VARIANT, found.report.variant))
    extensions += (string_extension(REASON, plain_text(str(reason))) for reason in found.report.reasons)
    return extensions


def _own_inputs(found: ModelAnswer) -> list[InputValue]:
    inputs = found.report.inputs
    names = [spec.name for spec in found.manifest.inputs] + [exclusion.name for exclusion in found.manifest.eligibility.exclusions]
    return [inputs[name] for name in names if name in inputs]


def _method(system: str, found: ModelAnswer) -> dict[str, object]:
    return {"system": system, "version": found.manifest.version, "code": found.manifest.name, "display": found.manifest.title}


def _predictions(answer: AssessmentAnswer, found: ModelAnswer) -> list[dict[str, object]]:
    given = {prediction.output: prediction for prediction in found.predictions}
    outputs = [output for output in found.manifest.outputs if not output.detail]
    periods = _periods(answer.as_of, outputs)
    shown = []
    for output in outputs:
        if output.name in given:
            shown.append(_number(output, given[output.name], periods))
        elif output.name in found.report.withheld:
            shown.append(_no_number(found, output, periods))
    return shown or [_no_number(found, output, periods) for output in outputs]


def _number(output: OutputSpec, prediction: Prediction, periods: Periods) -> dict[str, object]:
    """Return a prediction with its number: a probability in percent, or a score, which is never written as a probability (rules 2)."""
    shown = _outcome(output, periods)
    if output.scale == "score":
        shown["extension"] = [decimal_extension(SCORE, score_number(prediction.value, output.decimals))]
    else:
        shown["probabilityDecimal"] = percent(prediction.value)
    band = next((band for band in output.bands if band.name == prediction.band), None)
    rationale = f"{output.title}: {output_words(output, prediction.value)}"
    if band is not None:
        shown["qualitativeRisk"] = _qualitative(band)
        rationale += f". Band {band.name!r} by: {band.source}{_observed(band)}"
    if prediction.terms:
        rationale += f". {terms_words(prediction.terms)}"
    shown["rationale"] = rationale
    return shown


def _observed(band: Band) -> str:
    """Say what the source observed in a band: a rate of others, not this patient's probability."""
    if band.observed_rate is None:
        return ""
    return f". Observed in that source in this band: {percent(band.observed_rate):.1f} % {band.observed_of}".rstrip()


def _qualitative(band: Band) -> dict[str, object]:
    if not band.code:
        return {"text": band.name}
    return {"coding": [{"system": RISK_PROBABILITY, "code": band.code}], "text": band.name}


def _no_number(found: ModelAnswer, output: OutputSpec, periods: Periods) -> dict[str, object]:
    reasons = found.report.withheld.get(output.name) or tuple(reason for reason in found.report.reasons if reason.withholds)
    shown = _outcome(output, periods)
    shown["extension"] = [code_extension(DATA_ABSENT_REASON, absent_reason(found.report.verdict, reasons))]
    shown["rationale"] = plain_text(f"{output.title}: no number. {reasons_words(reasons, found) or verdict_words(found)}")
    return shown


def _outcome(output: OutputSpec, periods: Periods) -> dict[str, object]:
    outcome: dict[str, object] = {"text": output.outcome_text or output.title}
    if output.outcome is not None:
        coding = output.outcome
        outcome["coding"] = [{"system": coding.system, "code": coding.code, "display": coding.display}]
    shown: dict[str, object] = {"outcome": outcome}
    if output.name in periods:
        shown["whenPeriod"] = periods[output.name]
    return shown


def _periods(start: dt.datetime, outputs: Iterable[OutputSpec]) -> Periods:
    """Return the period of each output that declares a horizon; outputs of one horizon share one."""
    by_years: dict[int, dict[str, str]] = {}
    found: dict[str, Mapping[str, str]] = {}
    for output in outputs:
        if output.horizon_years is not None:
            found[output.name] = by_years.setdefault(output.horizon_years, period(start, output.horizon_years))
        elif output.horizon_days is not None:
            found[output.name] = {"start": start.isoformat(), "end": (start + dt.timedelta(days=output.horizon_days)).isoformat()}
    return found


def period(start: dt.datetime, years: int) -> dict[str, str]:
    """Return the period from an instant over a number of calendar years (29 February ends on the 28th)."""
    try:
        end = start.replace(year=start.year + years)
    except ValueError:
        end = start.replace(year=start.year + years, day=28)
    return {"start": start.isoformat(), "end": end.isoformat()}


def _note(answer: AssessmentAnswer, found: ModelAnswer) -> str:
    parts = [f"Verdict: {verdict_words(found)}.", f"Answered by: {RUNGS[found.rung]}; {setting_words(found.report)}."]
    if found.rung_reason:
        parts.append(f"A lower step of the ladder answered because {found.rung_reason}.")
    if answer.retrospective:
        parts.append(RETROSPECTIVE)
    return plain_text(" ".join(parts))


def _lines(answer: AssessmentAnswer, found: ModelAnswer) -> Iterable[str]:
    yield f"{found.manifest.title} {found.manifest.version}: {verdict_words(found)}"
    outputs = {output.name: output for output in found.manifest.outputs}
    for prediction in found.predictions:
        output = outputs[prediction.output]
        band = f" ({prediction.band})" if prediction.band and output.scale == "score" else ""
        yield f"{output.title}: {output_words(output, prediction.value)}{band}"
    yield from (f"{value.name}: {value_words(value)}" for value in _own_inputs(found) if value.usable)
    yield f"As of {answer.as_of.isoformat()}"


def narrative(lines: Iterable[str]) -> dict[str, object]:
    """Return a generated narrative, one paragraph per line; everything in it is escaped, and no line can open another."""
    text = html.escape("\n".join([line if line.isprintable() else plain_text(line) for line in lines]), quote=False)
    body = text.replace("\n", "</p><p>")
    return {"status": "generated", "div": f'<div xmlns="{XHTML}"><p>{body}</p></div>'}


def fallback_risk_assessment(answer: AssessmentAnswer, found: ModelAnswer, fallback: FallbackAnswer) -> dict[str, object]:
    """Return a fallback score's RiskAssessment, under its own name and outcome; it never fills the model's place."""
    inputs = list(fallback.inputs.values())
    words = fallback_words(fallback)
    number = f": {words}" if words else ""
    resource: dict[str, object] = {
        "resourceType": "RiskAssessment",
        "meta": {"security": [DEVICE_ASSERTED]},
        "text": narrative(_fallback_lines(found, fallback, number)),
        "extension": [*fallback_extensions(found, fallback), *input_extensions(inputs, answer.base_url)],
        "identifier": [{"system": IDENTIFIER_SYSTEM, "value": business_identifier(answer, found, fallback.score)}],
        "status": "preliminary",
        "method": {"coding": [{"system": SCORE_SYSTEM, "code": fallback.score, "display": fallback.title}], "text": fallback.title},
        "code": RISK_CODE,
        "subject": subject_of(answer),
        "occurrenceDateTime": answer.as_of.isoformat(),
        "performer": {"reference": device_url(fallback.score, "1")},
        "prediction": [_fallback_prediction(answer, fallback, number)],
        "note": [{"text": stand_in_note(answer, found, fallback)}, {"text": fallback.citation}],
    }
    basis = [source_reference(source, answer.base_url) for source in sources_of(inputs)]
    if basis:
        resource["basis"] = basis
    return resource


def _fallback_prediction(answer: AssessmentAnswer, fallback: FallbackAnswer, number: str) -> dict[str, object]:
    shown: dict[str, object] = {"outcome": {"text": fallback.outcome_text}}
    if fallback.horizon_years is not None:
        shown["whenPeriod"] = period(answer.as_of, fallback.horizon_years)
    if fallback.score_range is not None:
        ends = (score_number(end, fallback.decimals) for end in fallback.score_range)
        parts = [decimal_extension(name, end) for name, end in zip(("low", "high"), ends, strict=True)]
        shown["extension"] = [{"url": SCORE_RANGE, "extension": parts}]
    elif fallback.value is not None and fallback.scale == "score":
        shown["extension"] = [decimal_extension(SCORE, score_number(fallback.value, fallback.decimals))]
    elif fallback.value is not None:
        shown["probabilityDecimal"] = percent(fallback.value)
    if fallback.qualitative:
        shown["qualitativeRisk"] = {"text": fallback.qualitative}
    if not number and not fallback.qualitative:
        shown["extension"] = [code_extension(DATA_ABSENT_REASON, "unknown")]
    shown["rationale"] = f"{fallback.outcome_text}{number}. {' '.join(fallback.notes)}".strip()
    return shown


def fallback_extensions(found: ModelAnswer, fallback: FallbackAnswer) -> list[dict[str, object]]:
    """Return verdict, rung, cautions and the model whose place the score does not take."""
    return [
        code_extension(VERDICT, Verdict.FALLBACK.value),
        code_extension(RUNG, Rung.FALLBACK_SCORE.value),
        string_extension(STAND_IN_FOR, found.manifest.name),
        *(string_extension(REASON, plain_text(str(reason))) for reason in fallback.cautions),
    ]


def stand_in_note(answer: AssessmentAnswer, found: ModelAnswer, fallback: FallbackAnswer) -> str:
    """Say that this is another score, why it stands here, and what must be said with it."""
    why = reasons_words((reason for reason in found.report.reasons if reason.withholds), found)
    parts = [f"{fallback.title} is another score than {found.manifest.title}, shown because: {why}.", *fallback.notes]
    if fallback.cautions:
        parts.append(f"{reasons_words(fallback.cautions).capitalize()}.")
    parts.append(f"{setting_words(found.report).capitalize()}.")
    if answer.retrospective:
        parts.append(RETROSPECTIVE)
    return plain_text(" ".join(parts))


def _fallback_lines(found: ModelAnswer, fallback: FallbackAnswer, number: str) -> Iterable[str]:
    yield f"{fallback.title} (not {found.manifest.title}){number}"
    yield fallback.outcome_text
    yield from fallback.notes
    yield from (f"{value.name}: {value_words(value)}" for value in fallback.inputs.values())
