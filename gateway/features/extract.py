"""From a record to the inputs a manifest declares: one operator each, nothing judged but what the operator itself must decide."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.features.admission import newest_in_stay, nights_of_stay, procedure_in_stay, stays_counted, urgent_stay
from gateway.features.category import coded_category
from gateway.features.context import Chart, Target
from gateway.features.derived import first_of, latest_of, model_output, not_recorded, site_setting
from gateway.features.findings import condition_present, exclusion_found
from gateway.features.manifest import (
    Age,
    CodedCategory,
    ConditionPresent,
    CurrentMedication,
    Feature,
    FirstOf,
    InputSpec,
    LatestOf,
    MeanOfNewest,
    ModelManifest,
    ModelOutput,
    Newest,
    NewestInStay,
    NewestPair,
    NightsOfStay,
    NotRecorded,
    ProcedureInStay,
    ProceduresCounted,
    Quotient,
    ReferenceLimit,
    Setting,
    SexAtAsOf,
    SimpleFeature,
    SiteSetting,
    StaysCounted,
    Threshold,
    UrgentStay,
)
from gateway.features.measured import mean_of_newest, newest_of, newest_pair, quotient, threshold
from gateway.features.medications import current_medication
from gateway.features.patient import age_of, sex_of
from gateway.features.procedures import procedures_counted
from gateway.features.reference import reference_limit
from gateway.features.value import NO_AGE_LIMIT, InputValue
from gateway.terminology import AgeLimit, Terminology


def extract_inputs(manifest: ModelManifest, chart: Chart) -> dict[str, InputValue]:
    """Return every input, every exclusion and finding (under its name) and every input of a fallback, as found at the as-of time.

    Nothing is imputed; an input that cannot be used says why.
    """
    inputs = {spec.name: _extract_spec(spec, chart) for spec in manifest.inputs}
    for exclusion in manifest.eligibility.exclusions:
        inputs[exclusion.name] = exclusion_found(exclusion, chart)
    for finding in manifest.findings:
        target = Target(finding.name, finding.feature.group, "1")
        inputs[finding.name] = _extract_simple(target, finding.feature, chart)
    for fallback in manifest.fallbacks:
        for spec in fallback.features:
            inputs[spec.name] = _extract_spec(spec, chart)
    return inputs


def concepts_of(feature: Feature) -> tuple[str, ...]:
    """Return the names of the measured concepts a feature reads, the one it is about first."""
    match feature:
        case Newest() | MeanOfNewest() | CodedCategory() | ReferenceLimit() | Threshold() | NewestInStay():
            return (feature.concept,)
        case NewestPair():
            return (feature.concept, feature.partner)
        case Quotient():
            return (feature.numerator, feature.denominator)
        case FirstOf() | LatestOf():
            return tuple(dict.fromkeys(concept for option in feature.options for concept in concepts_of(option)))
        case _:
            return ()


def age_limit(spec: InputSpec, setting: Setting, terminology: Terminology) -> AgeLimit:
    """Return the age limits: the manifest's where it states any for the setting, else the table's for the measured concept."""
    hard, soft = spec.age_days_max.get(setting), spec.age_days_soft.get(setting)
    if hard is not None or soft is not None:
        return AgeLimit(hard_days=hard, soft_days=soft)
    for name in concepts_of(spec.feature)[:1]:
        return terminology.concept(name).ages.get(setting, NO_AGE_LIMIT)
    return NO_AGE_LIMIT


def _extract_spec(spec: InputSpec, chart: Chart) -> InputValue:
    target = Target(spec.name, spec.concept, spec.unit, age_limit(spec, chart.setting, chart.terminology))
    if isinstance(spec.feature, FirstOf):
        return first_of(target, spec.feature, chart, _extract_simple)
    if isinstance(spec.feature, LatestOf):
        return latest_of(target, spec.feature, chart, _extract_simple)
    return _extract_simple(target, spec.feature, chart)


def _extract_simple(target: Target, feature: SimpleFeature, chart: Chart) -> InputValue:
    return _OPERATORS[type(feature)](target, feature, chart)


# Any: each operator takes its own kind of feature, and the key is that kind.
_OPERATORS: Mapping[type, Callable[[Target, Any, Chart], InputValue]] = {
    Age: lambda target, _, chart: age_of(target, chart),
    SexAtAsOf: sex_of,
    Newest: newest_of,
    NewestPair: newest_pair,
    MeanOfNewest: mean_of_newest,
    Quotient: quotient,
    CodedCategory: coded_category,
    ConditionPresent: condition_present,
    CurrentMedication: current_medication,
    ModelOutput: model_output,
    NotRecorded: not_recorded,
    SiteSetting: site_setting,
    ReferenceLimit: reference_limit,
    ProceduresCounted: procedures_counted,
    Threshold: threshold,
    NightsOfStay: nights_of_stay,
    UrgentStay: urgent_stay,
    StaysCounted: stays_counted,
    NewestInStay: newest_in_stay,
    ProcedureInStay: procedure_in_stay,
}
