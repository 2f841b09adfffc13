"""Inputs that come from elsewhere: another model's output, or the first of several ways that gives a usable value."""

import datetime as dt
from collections.abc import Callable

import msgspec

from gateway.features.context import Chart, Target
from gateway.features.manifest import FirstOf, LatestOf, ModelOutput, NotRecorded, SimpleFeature, SiteSetting
from gateway.features.outcome import Shown, found, not_usable, withheld_for
from gateway.features.readings import BEGIN_OF_TIME
from gateway.features.value import InputState, InputValue
from gateway.record.reason import NOT_APPLICABLE_CODES, Reason, ReasonCode

_UNSEEN = (InputState.NOT_ALLOWED, InputState.NOT_FETCHED)
_ABOUT_PATIENT = NOT_APPLICABLE_CODES | {ReasonCode.UNSTABLE_CREATININE}
_CONTRADICTED = (InputState.IMPLAUSIBLE, InputState.INCONSISTENT)


def model_output(target: Target, feature: ModelOutput, chart: Chart) -> InputValue:
    """Return another model's output under this input's name, with its lineage.

    A state that says something about the data (missing, stale, not fetched ...) is told of this input; WITHHELD keeps the upstream reason
    as it is, because it says something about the patient.
    """
    value = chart.outputs.get((feature.model, feature.output))
    if value is None:
        return not_usable(target, InputState.MISSING, f"{feature.model} gave no answer")
    state, reasons = value.state, value.reasons
    if not value.usable and any(reason.code in _ABOUT_PATIENT for reason in reasons):
        state = InputState.WITHHELD
    if not value.usable and state is not InputState.WITHHELD:
        reasons = tuple(
            Reason(reason.code, target.name, reason.detail or str(reason)) if reason.withholds else reason for reason in value.reasons
        )
    return msgspec.structs.replace(
        value,
        name=target.name,
        concept=target.concept,
        unit=target.unit,
        state=state,
        reasons=reasons,
        age_limit=target.limit,
    )


def not_recorded(target: Target, _feature: NotRecorded, _chart: Chart) -> InputValue:
    """Return the absence of what no record holds."""
    return not_usable(target, InputState.MISSING, "no record holds it")


def site_setting(target: Target, feature: SiteSetting, chart: Chart) -> InputValue:
    """Return what the hospital states under that name; there is no default, and no guess at a word that the manifest does not know."""
    stated = chart.site.get(feature.setting)
    value = site_number(feature, stated)
    if value is not None:
        return found(target, Shown(value, text=str(stated) if feature.encoding else "stated by the site"))
    words = f"site.{feature.setting} is not stated" if stated is None else f"site.{feature.setting} is nothing this model knows"
    return withheld_for(target, InputState.MISSING, Reason(ReasonCode.CONFIG_MISSING, target.name, words))


def site_number(feature: SiteSetting, stated: float | str | None) -> float | None:
    """Return the number of a site setting; None where nothing is stated, or no word (or, without words, no number) that is known."""
    if feature.encoding:
        return feature.encoding.get(stated) if isinstance(stated, str) else None
    return None if stated is None or isinstance(stated, str) else stated


def first_of(target: Target, feature: FirstOf, chart: Chart, extract: Callable[[Target, SimpleFeature, Chart], InputValue]) -> InputValue:
    """Return the first option with a usable value that is not too old; else the most telling of the failures.

    A number withheld because of the patient (dialysis, pregnancy, an unsteady creatinine) ends the search: no other way to the same
    number may step in (rules 4).
    """
    failed: list[InputValue] = []
    for place, option in enumerate(feature.options):
        value = extract(target, option, chart)
        if value.state is InputState.WITHHELD:
            return value
        if value.usable and not is_older(value, target.limit.hard_days, chart.as_of):
            return _with_cautions(target, value, feature.cautions[place] if place < len(feature.cautions) else "", failed)
        failed.append(value)
    return _most_telling(failed)


def latest_of(target: Target, feature: LatestOf, chart: Chart, extract: Callable[[Target, SimpleFeature, Chart], InputValue]) -> InputValue:
    """Return the option with the newest usable value, of one time the highest number; where none is usable, the most telling failure.

    A newer value that contradicts itself or cannot be is told, as it is where options stand in order of preference.
    """
    values = [extract(target, option, chart) for option in feature.options]
    usable = [value for value in values if value.usable]
    unseen = [value for value in values if value.state in _UNSEEN]
    if unseen or not usable:
        return _most_telling(unseen or values)
    latest = max(usable, key=lambda value: (value.time or BEGIN_OF_TIME, value.tensor_value))
    return _with_cautions(target, latest, "", [value for value in values if not value.usable])


def _with_cautions(target: Target, value: InputValue, caution: str, failed: list[InputValue]) -> InputValue:
    """Add the option's own caution, and one for a newer result of a preferred option that could not be used."""
    added: list[Reason] = [Reason(ReasonCode.CAUTION, caution)] if caution else []
    used_at = value.aged_from or value.time
    if any(other.state in _CONTRADICTED and other.time and used_at and other.time > used_at for other in failed):
        added.append(Reason(ReasonCode.CAUTION, f"newer_unusable:{target.name}", "another source has a newer unusable value"))
    extra = tuple(reason for reason in added if str(reason) not in {str(known) for known in value.reasons})
    return msgspec.structs.replace(value, reasons=(*value.reasons, *extra)) if extra else value


def _most_telling(failed: list[InputValue]) -> InputValue:
    """Not seen comes before not there; a stale or impossible value says more than none."""
    for states in (_UNSEEN, _CONTRADICTED):
        for value in failed:
            if value.state in states:
                return value
    return next((value for value in failed if value.state is not InputState.MISSING), failed[0])


def is_older(value: InputValue, days: float | None, as_of: dt.datetime) -> bool:
    """Tell whether a value is older than a limit; a value without a time, or without a limit, does not age."""
    measured = value.aged_from or value.time
    return measured is not None and days is not None and as_of - measured > dt.timedelta(days=days)
