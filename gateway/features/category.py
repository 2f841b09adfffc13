"""A coded answer (a smoking status) as a number."""

import datetime as dt
import math
from itertools import groupby

import msgspec

from gateway.features.context import Chart, Target
from gateway.features.manifest import CodedCategory
from gateway.features.outcome import Shown, evidence_of, found, not_usable, unseen_group
from gateway.features.readings import CORRECTING_STATUSES, RETRACTED_STATUSES, measured_at
from gateway.features.value import InputState, InputValue
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import Measurement


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """One Observation's answer: its number, or why it has none."""

    source: Measurement
    at: dt.datetime | None
    value: float | None
    why: str = ""


def coded_category(target: Target, feature: CodedCategory, chart: Chart) -> InputValue:
    """Return the number of the newest answer that falls into a code group; a newer one that says nothing is told as a caution."""
    unseen = unseen_group(target, chart, chart.terminology.concept(feature.concept).group)
    if unseen is not None:
        return unseen
    answers = _newest_answers(feature, chart)
    usable = [answer for answer in answers if answer.value is not None]
    if not usable:
        why = ", ".join(dict.fromkeys(answer.why for answer in answers))
        words = f"nothing usable: {why}" if why else "searched, nothing recorded"
        return not_usable(target, InputState.MISSING, words, Shown(evidence=tuple(evidence_of(answer.source) for answer in answers[:1])))
    return _newest_answer(target, usable, answers)


def _newest_answers(feature: CodedCategory, chart: Chart) -> list[_Answer]:
    """Return the answers, newest first, ties by resource id, down to the first instant at which one is usable."""
    answers: list[_Answer] = []
    until: dt.datetime | None = None
    for measurement in sorted(chart.measurements(feature.concept), key=measured_at, reverse=True):
        if until is not None and measured_at(measurement) < until:
            break
        if not _said(measurement):
            continue
        answer = _answer(feature, measurement, chart)
        answers.append(answer)
        if answer.value is not None:
            until = answer.at
    answers.sort(key=lambda answer: (-answer.at.timestamp() if answer.at else math.inf, answer.source.source.id))
    return answers


def _newest_answer(target: Target, usable: list[_Answer], answers: list[_Answer]) -> InputValue:
    """Decide between the answers of the newest instant by the rule for numbers: corrected first, then issued last, else INCONSISTENT."""
    _, grouped = next(groupby(usable, key=lambda answer: answer.at))
    same = list(grouped)
    kept = _decide(same)
    if kept is None:
        shown = Shown(time=same[0].at, evidence=tuple(evidence_of(answer.source) for answer in same))
        return not_usable(target, InputState.INCONSISTENT, "different answers at one time", shown)
    evidence = evidence_of(kept.source)
    cautions: list[Reason] = []
    if len({answer.value for answer in same}) > 1:
        cautions.append(Reason(ReasonCode.CAUTION, f"conflict:{target.name}", "another answer is recorded at the same time"))
    later = next((answer for answer in answers if answer.value is None and answer.at and kept.at and answer.at > kept.at), None)
    if later is not None:
        cautions.append(Reason(ReasonCode.CAUTION, f"newer_unusable:{target.name}", later.why))
    return found(target, Shown(kept.value, kept.at, str(evidence.raw_value or ""), (evidence,)), tuple(cautions))


def _decide(same: list[_Answer]) -> _Answer | None:
    correcting = [answer for answer in same if answer.source.status in CORRECTING_STATUSES]
    pool = correcting or same
    newest = max((answer.source.issued.at for answer in pool if answer.source.issued is not None), default=None)
    issued = [answer for answer in pool if answer.source.issued is not None and answer.source.issued.at == newest]
    for kept in (same, correcting, issued):
        if kept and len({answer.value for answer in kept}) == 1:
            return min(kept, key=lambda answer: answer.source.source.id)
    return None


def _said(measurement: Measurement) -> bool:
    if measurement.status in RETRACTED_STATUSES:
        return False
    return bool(measurement.value_codes) or measurement.value_text is not None or measurement.value is not None


def _answer(feature: CodedCategory, measurement: Measurement, chart: Chart) -> _Answer:
    at = measurement.time.at if measurement.time is not None else None
    if not measurement.usable_status:
        return _Answer(measurement, at, None, f"status {measurement.status}")
    if at is None:
        return _Answer(measurement, at, None, "undated")
    groups = [group for code in measurement.value_codes for group in chart.terminology.code_group(code.system, code.code)]
    values = {feature.values[group] for group in groups if group in feature.values}
    if len(values) == 1:
        return _Answer(measurement, at, values.pop())
    if values:
        return _Answer(measurement, at, None, "its codings contradict each other")
    if any(group in feature.unknown for group in groups):
        return _Answer(measurement, at, None, "recorded as not known")
    listed = ", ".join(code.display or code.code for code in measurement.value_codes) or "words without a code"
    return _Answer(measurement, at, None, f"answer not recognised ({listed})")
