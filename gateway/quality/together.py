"""What inputs say about each other: taken too far apart, made doubtful by a finding; and what may be assumed where nothing is known."""

import datetime as dt
from collections.abc import Mapping

import msgspec

from gateway.features.manifest import Finding, ModelManifest, Setting, Spread
from gateway.features.value import InputState, InputValue
from gateway.record.reason import Reason, ReasonCode

_UNSEEN = (InputState.NOT_FETCHED, InputState.NOT_ALLOWED)


def grade_together(manifest: ModelManifest, graded: dict[str, InputValue], setting: Setting) -> None:
    """Apply the manifest's findings, spreads and assumptions, in this order, to inputs that were graded one by one."""
    for finding in manifest.findings:
        grade_finding(finding, graded)
    for spread in manifest.spread:
        grade_spread(spread, graded, setting)
    for spec in manifest.inputs:
        if spec.assumed is not None:
            graded[spec.name] = assumed_where_missing(spec.name, spec.assumed, graded[spec.name])


def grade_spread(spread: Spread, graded: dict[str, InputValue], setting: Setting) -> None:
    """Withhold the usable inputs of a group whose times lie further apart than allowed; the others have a reason of their own.

    The code has no subject: it is about all of them.
    """
    days_max = spread.days_max_in.get(setting, spread.days_max)
    members = [value for value in (graded[name] for name in spread.inputs) if value.usable]
    times = [value.time for value in members if value.time is not None]
    if not times or max(times) - min(times) <= dt.timedelta(days=days_max):
        return
    reason = Reason(ReasonCode.NOT_CONTEMPORANEOUS, "", f"{', '.join(spread.inputs)}: more than {days_max:.3g} days apart")
    since = max(times) - dt.timedelta(days=days_max)
    for value in members:
        if spread.keeps_newest and (value.time is None or value.time >= since):
            continue
        graded[value.name] = msgspec.structs.replace(value, state=InputState.INCONSISTENT, reasons=(reason,))


def grade_finding(finding: Finding, graded: dict[str, InputValue]) -> None:
    """Add the caution to the input it makes doubtful, where that one is used at all."""
    found, value = graded[finding.name], graded[finding.input]
    if not value.usable:
        return
    if not found.usable:
        words = "; ".join(reason.detail for reason in found.reasons if reason.detail)
        caution = Reason(ReasonCode.CAUTION, finding.unknown, words)
    elif found.tensor_value:
        caution = Reason(ReasonCode.CAUTION, finding.caution, found.text)
    else:
        return
    graded[finding.input] = msgspec.structs.replace(value, reasons=(*value.reasons, caution))


def assumed_where_missing(name: str, assumed: float, value: InputValue) -> InputValue:
    """Return the assumption, said as such, where an input is missing; what could not be fetched or may not be seen is not assumed."""
    if value.state is not InputState.MISSING:
        return value
    words = "; ".join(reason.detail for reason in value.reasons if reason.detail)
    reason = Reason(ReasonCode.ASSUMED, f"{name}={assumed:g}", words)
    return msgspec.structs.replace(value, state=InputState.ASSUMED, value=assumed, reasons=(reason,))


def state_span(manifest: ModelManifest, inputs: dict[str, InputValue], span_days: float, as_of: dt.datetime) -> Mapping[str, InputValue]:
    """Return stated inputs with the times that a stated span between the laboratory values means: one of each group is that much older.

    Their ages stay as stated: an age limit counts from `aged_from`.
    """
    spanned = dict(inputs)
    for spread in manifest.spread:
        members = [name for name in spread.inputs if spanned[name].usable]
        for place, name in enumerate(members):
            base = spanned[name].time or as_of
            older = dt.timedelta(days=span_days if place else 0.0)
            spanned[name] = msgspec.structs.replace(spanned[name], time=base - older, aged_from=base)
    return spanned
