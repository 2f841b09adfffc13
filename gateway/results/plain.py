"""An answer in plain lines, for the command line and the demo."""

from collections.abc import Iterable

from gateway.features.value import InputValue
from gateway.quality.report import Verdict
from gateway.results.answer import AssessmentAnswer, FallbackAnswer, ModelAnswer
from gateway.results.extension import printable
from gateway.results.number import fallback_words, output_words, round_half_up
from gateway.results.words import RUNGS, reason_words, reasons_words, setting_words, value_words, verdict_words


def describe(answer: AssessmentAnswer) -> tuple[str, ...]:
    """Return the whole answer as lines; nothing of a record can move a terminal's cursor."""
    return tuple(map(printable, _lines(answer)))


def _lines(answer: AssessmentAnswer) -> Iterable[str]:
    yield f"Patient/{answer.patient_id} as of {answer.as_of.isoformat(timespec='seconds')}"
    if answer.retrospective:
        yield "  retrospective: what came later is left out; statuses are today's"
    for found in answer.answers:
        yield from ("  " + line for line in describe_model(found))
    if answer.dropped:
        yield f"  {len(answer.dropped)} resources or elements were not used"


def describe_model(found: ModelAnswer) -> Iterable[str]:
    """Yield one model's answer as lines."""
    yield f"{found.manifest.title} {found.manifest.version}: {verdict_words(found)}"
    yield f"  answered by: {RUNGS[found.rung]}; {setting_words(found.report)}"
    if found.rung_reason:
        yield f"  why not a higher step: {found.rung_reason}"
    yield from (f"  {line}" for line in _numbers(found))
    for fallback in found.fallbacks:
        yield from (f"  {line}" for line in describe_fallback(fallback))
    yield from (f"  {line}" for line in _inputs(found))


def _numbers(found: ModelAnswer) -> Iterable[str]:
    outputs = {output.name: output for output in found.manifest.outputs}
    for prediction in found.predictions:
        output = outputs[prediction.output]
        if found.manifest.measurement is not None:
            said = found.manifest.measurement
            yield f"{output.title}: {round_half_up(prediction.value, said.decimals):g} {said.unit}"
        else:
            band = f" ({prediction.band})" if prediction.band else ""
            yield f"{output.title}: {output_words(output, prediction.value)}{band}"
    for name, reasons in found.report.withheld.items():
        if found.predictions and not outputs[name].detail:
            yield f"{outputs[name].title}: no number: {reasons_words(reasons, found)}"


def describe_fallback(fallback: FallbackAnswer) -> Iterable[str]:
    """Yield a fallback's answer as lines, under its own name."""
    words = fallback_words(fallback) or fallback.qualitative
    if words:
        yield f"fallback {fallback.title}: {fallback.outcome_text}: {words}"
    if fallback.qualitative and fallback.scale == "score" and words != fallback.qualitative:
        yield f"fallback {fallback.title}: {fallback.qualitative}"
    yield from fallback.notes


def _inputs(found: ModelAnswer) -> Iterable[str]:
    inputs = found.report.inputs
    used = [inputs[spec.name] for spec in found.manifest.inputs]
    shown = ", ".join(f"{value.name} {value_words(value)}" for value in used if value.usable)
    if shown:
        yield f"found: {shown}"
    for value in used:
        if not value.usable and value.reasons:
            yield f"not usable: {_why(value, found)}"


def _why(value: InputValue, found: ModelAnswer) -> str:
    number = f" {value_words(value)}" if value.value is not None else ""
    details = "; ".join(dict.fromkeys(reason.detail for reason in value.reasons if reason.detail))
    words = "; ".join(reason_words(reason, found) for reason in value.reasons)
    return f"{value.name}{number}: {words}" + (f" ({details})" if details else "")


def headline(found: ModelAnswer) -> str:
    """Return the one number a person looks for first, or the verdict where there is none."""
    first = next((output.name for output in found.manifest.outputs if output.headline), None)
    for prediction in found.predictions:
        if prediction.output == first:
            return next(iter(_numbers(found)))
    return verdict_words(found) if found.verdict is not Verdict.SCORED else ""
