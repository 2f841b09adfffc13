"""CDS Hooks cards: an honest card, or a reason in the extension why there is none. Never an empty list on failure (rules 6).

| what was found | cards | `reason` in the extension |
|---|---|---|
| alert output at or above the threshold | one, by band | shown |
| alert output below it | none | below-threshold |
| a model without an alert output | none: it has no threshold | no-threshold |
| a measurement that other models read | none | feeds-others |
| a fallback score answered | info, under its own name; warning where what is known asks for a response | fallback |
| something missing, old, impossible, contradictory | info that names it | no-estimate |
| something could not be fetched or may not be seen | info that names it | no-estimate |
| not applicable because of disease, pregnancy, range | info that says why | not-applicable |
| not applicable only by age or care setting; deceased; record replaced | none: it would soon be ignored | not-applicable |
| asked about another time | none (rules 5) | retrospective |
| no number from a model with `card_without_number = false` (most patients are not for it), everything seen | none | as above |
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from gateway.features.manifest import ModelManifest
from gateway.features.value import InputState, InputValue
from gateway.quality.report import Verdict
from gateway.record.reason import NOT_APPLICABLE_CODES, ReasonCode
from gateway.results.answer import AssessmentAnswer, FallbackAnswer, ModelAnswer, Prediction
from gateway.results.extension import BASE, MODEL_SYSTEM, plain_text
from gateway.results.number import fallback_words, output_words
from gateway.results.reference import NAMESPACE
from gateway.results.words import RUNGS, reasons_words, setting_words, value_words, verdict_words

# CDS Hooks 2.0.1, card attributes: summary is under 140 characters.
SUMMARY_CHARS_MAX = 139
EXTENSION_KEY = "example.clinical-inference-gateway.assessment"
_NEVER_A_CARD = frozenset({ReasonCode.DECEASED, ReasonCode.RECORD_REPLACED})
_UNSEEN = frozenset({ReasonCode.NOT_FETCHED, ReasonCode.NOT_ALLOWED, ReasonCode.RUNTIME_FAILURE})
_QUIET = frozenset({ReasonCode.AGE_OUT_OF_RANGE, ReasonCode.CARE_SETTING})
# Everything GitHub-flavoured Markdown or HTML could read as markup; a line break in a record's text must not open a new block.
# The backslash comes first, and the ampersand before the angle brackets: what replaces the others holds them.
_ESCAPES = (
    *((mark, "\\" + mark) for mark in "\\`*_{}[]()#+-.!|~$:@"),
    ("&", "&amp;"),
    ("<", "&lt;"),
    (">", "&gt;"),
)


class CardPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a card is shown, under which name, and for how long it counts as current."""

    threshold: Literal["model", "always"] = "model"
    thresholds: Mapping[str, float] = {}  # the site's own, by model name, instead of the model's
    source_label: str = "Clinical inference gateway"
    source_url: str = BASE
    valid_minutes: int = 60

    def threshold_of(self, manifest: ModelManifest) -> float | None:
        """Return the alert threshold that holds for a model here: the site's own, else the model's."""
        return self.thresholds.get(manifest.name, manifest.alert_threshold)


def escape_markdown(text: str) -> str:
    """Return a text that GitHub-flavoured Markdown shows letter by letter, HTML included, on one line."""
    return _escaped(plain_text(text))


def _escaped(text: str) -> str:
    """Escape every mark; line breaks stay. Twenty calls of `replace` cost a fifth of one `translate`."""
    for mark, escaped in _ESCAPES:
        if mark in text:
            text = text.replace(mark, escaped)
    return text


@lru_cache(maxsize=4096)
def _escape_known(text: str) -> str:
    """Escape a text of a manifest or of our own word list; never one of a record."""
    return escape_markdown(text)


def render_cards(answer: AssessmentAnswer, policy: CardPolicy) -> dict[str, object]:
    """Return a CDS Hooks response."""
    cards = []
    told = []
    for found in answer.answers:
        if found.manifest.alert_output is None:
            told.append(_told(found, "feeds-others" if found.manifest.result == "measurement" else "no-threshold"))
            continue
        reason, card = _decide(answer, found, policy)
        told.append(_told(found, reason))
        if card is not None:
            cards.append(card)
    extension: dict[str, object] = {
        "assessmentId": answer.assessment_id,
        "asOf": answer.as_of.isoformat(),
        "generatedAt": answer.answered_at.isoformat(),
        "validUntil": _valid_until(answer, policy).isoformat(),
        "models": told,
    }
    return {"cards": cards, "extension": {EXTENSION_KEY: extension}}


def _valid_until(answer: AssessmentAnswer, policy: CardPolicy) -> dt.datetime:
    return answer.answered_at + dt.timedelta(minutes=policy.valid_minutes)


def _told(found: ModelAnswer, reason: str) -> dict[str, object]:
    told: dict[str, object] = {
        "model": found.manifest.name,
        "version": found.manifest.version,
        "verdict": found.verdict.value,
        "rung": found.rung.value,
        "reason": reason,
    }
    if found.rung_reason:
        told["rungReason"] = plain_text(found.rung_reason)
    if found.report.reasons:
        told["reasons"] = [plain_text(str(each)) for each in found.report.reasons]
    return told


def _decide(answer: AssessmentAnswer, found: ModelAnswer, policy: CardPolicy) -> tuple[str, dict[str, object] | None]:
    if answer.retrospective:
        return "retrospective", None
    alert = next((prediction for prediction in found.predictions if prediction.output == found.manifest.alert_output), None)
    if alert is not None:
        return _decide_by_number(answer, found, policy, alert)
    urgent = next((fallback for fallback in found.fallbacks if fallback.alerts), None)
    if _keeps_quiet(found) and urgent is None:
        return _reason_without_number(found), None
    if found.fallbacks:
        summary = _fallback_summary(found, urgent or found.fallbacks[0])
        return "fallback", _card(answer, found, policy, summary, "warning" if urgent else "info")
    if found.report.verdict is Verdict.NOT_APPLICABLE:
        if _is_quiet(found):
            return "not-applicable", None
        return "not-applicable", _card(answer, found, policy, f"{found.manifest.title}: {verdict_words(found)}", "info")
    return "no-estimate", _card(answer, found, policy, _no_estimate_summary(found), "info")


def _decide_by_number(
    answer: AssessmentAnswer, found: ModelAnswer, policy: CardPolicy, alert: Prediction
) -> tuple[str, dict[str, object] | None]:
    """Show a number at or above the threshold, or one of whose terms asks for a response whatever the total."""
    threshold = policy.threshold_of(found.manifest)
    by_term = any(alert.terms.get(name) == 1.0 for name in found.manifest.alert_terms)
    if policy.threshold != "always" and not by_term and alert.value < (threshold or 0.0):
        return "below-threshold", None
    return "shown", _card(answer, found, policy, _risk_summary(found, alert), "warning" if by_term else _indicator(alert, threshold))


def _keeps_quiet(found: ModelAnswer) -> bool:
    """Tell whether the model is one that most patients are not for: only what could not be seen or run is told without a number."""
    return not found.manifest.card_without_number and _UNSEEN.isdisjoint(reason.code for reason in found.report.reasons)


def _reason_without_number(found: ModelAnswer) -> str:
    if found.fallbacks:
        return "fallback"
    return "not-applicable" if found.report.verdict is Verdict.NOT_APPLICABLE else "no-estimate"


def _is_quiet(found: ModelAnswer) -> bool:
    """Tell whether nobody needs to be told. A disease beside the age is told: it must not be read as low risk."""
    why = NOT_APPLICABLE_CODES.intersection(reason.code for reason in found.report.reasons)
    return bool(why & _NEVER_A_CARD) or why <= _QUIET


def _risk_summary(found: ModelAnswer, alert: Prediction) -> str:
    output = next(output for output in found.manifest.outputs if output.name == alert.output)
    band = f", {alert.band}" if alert.band and output.scale == "score" else ""
    caution = "" if found.verdict is Verdict.SCORED else ", with cautions"
    return f"{output.title}: {output_words(output, alert.value)}{band} ({found.manifest.title}{caution})"


def _indicator(alert: Prediction, threshold: float | None) -> str:
    """`warning` at or above the threshold, else `info`; a risk over years is never `critical`."""
    return "warning" if threshold is not None and alert.value >= threshold else "info"


def _fallback_summary(found: ModelAnswer, fallback: FallbackAnswer) -> str:
    words = fallback_words(fallback)
    number = f" {words}" if words and fallback.unit == "1" else ""
    if fallback.value is None and fallback.qualitative and not words:
        number = f": {fallback.qualitative}"
    why = reasons_words((reason for reason in found.report.reasons if reason.withholds), found)
    instead_of = f"{found.manifest.title} only in part" if found.predictions else f"no {found.manifest.title}"
    return f"{fallback.title}{number}; {instead_of}: {why}"


def _no_estimate_summary(found: ModelAnswer) -> str:
    """Say what is not there. Where other outputs have a number, the one that alerts is named, because only that is missing."""
    alert = found.manifest.alert_output
    missing = next(output.title for output in found.manifest.outputs if output.name == alert) if found.predictions else "estimate"
    unfetched = [value.name for value in found.report.inputs.values() if value.state is InputState.NOT_FETCHED]
    if unfetched:
        return f"{found.manifest.title}: no {missing}: {', '.join(unfetched).replace('_', ' ')} could not be fetched"
    why = reasons_words((reason for reason in found.report.reasons if reason.withholds), found)
    return f"{found.manifest.title}: no {missing}: {why}"


def _card(answer: AssessmentAnswer, found: ModelAnswer, policy: CardPolicy, summary: str, indicator: str) -> dict[str, object]:
    return {
        "uuid": str(uuid.uuid5(NAMESPACE, f"card|{answer.assessment_id}|{found.manifest.name}")),
        "summary": _shortened(summary),
        "detail": "\n".join(_detail(answer, found, policy)),
        "indicator": indicator,
        "source": {
            "label": policy.source_label,
            "url": policy.source_url,
            "topic": {"system": MODEL_SYSTEM, "code": found.manifest.name, "display": found.manifest.title},
        },
    }


def _shortened(text: str) -> str:
    """Return a summary on one line and short enough, counted as a client in JavaScript or Java counts it."""
    shown = plain_text(text)
    if _utf16_units(shown) <= SUMMARY_CHARS_MAX:
        return shown
    shown = shown[: SUMMARY_CHARS_MAX - 1]
    while _utf16_units(shown) > SUMMARY_CHARS_MAX - 1:
        shown = shown[:-1]
    return shown + "…"


def _utf16_units(text: str) -> int:
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)


def _detail(answer: AssessmentAnswer, found: ModelAnswer, policy: CardPolicy) -> Iterable[str]:
    manifest = found.manifest
    yield f"**{_escape_known(manifest.title)} {_escape_known(manifest.version)}**: {escape_markdown(verdict_words(found))}"
    yield ""
    outputs = {output.name: output for output in manifest.outputs}
    yield from (
        f"- {_escape_known(outputs[prediction.output].title)}: **{output_words(outputs[prediction.output], prediction.value)}**"
        + (f" ({_escape_known(prediction.band)})" if prediction.band else "")
        for prediction in found.predictions
    )
    for fallback in found.fallbacks:
        yield from _fallback_detail(fallback)
    inputs = [found.report.inputs[spec.name] for spec in manifest.inputs]
    yield from _list("Rests on", (f"{value.name}: {value_words(value)}" for value in inputs if value.usable))
    yield from _list("Not used", (_why(value, found) for value in inputs if not value.usable and value.reasons))
    yield ""
    yield escape_markdown(f"{RUNGS[found.rung]}; {setting_words(found.report)}")
    if found.rung_reason:
        yield escape_markdown(f"Not answered by a higher step, because {found.rung_reason}")
    times = [instant.isoformat(timespec="seconds") for instant in (answer.answered_at, _valid_until(answer, policy))]
    yield escape_markdown(f"Generated {times[0]}, valid until {times[1]}")
    yield _escape_known(manifest.citation)


def _fallback_detail(fallback: FallbackAnswer) -> Iterable[str]:
    name = f"{_escape_known(fallback.title)}: {_escape_known(fallback.outcome_text)}"
    if fallback.unit == "1" and fallback_words(fallback):
        yield f"- {name}: **{fallback_words(fallback)}**"
    elif fallback.value is not None:
        yield f"- {name}: **{fallback.value:.4g} {_escape_known(fallback.unit)}**"
    if fallback.qualitative:
        yield f"- {_escape_known(fallback.title)}: {escape_markdown(fallback.qualitative)}"
    yield from (f"- {escape_markdown(note)}" for note in fallback.notes)


def _list(title: str, items: Iterable[str]) -> Iterable[str]:
    """Yield a titled list; the items are escaped together, after each was brought onto one line."""
    lines = "\n".join([plain_text(item) for item in items])
    if lines:
        yield f"\n{title}:\n"
        yield "- " + _escaped(lines).replace("\n", "\n- ")


def _why(value: InputValue, found: ModelAnswer) -> str:
    number = f" {value_words(value)}" if value.value is not None else ""
    return f"{value.name}{number}: {reasons_words(value.reasons, found)}"
