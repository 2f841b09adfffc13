"""Why an input of a model is what it is, in sentences: how it was looked for, what was found, whether it is used and why not."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.features import manifest as language
from gateway.features.value import InputState, InputValue
from gateway.results.answer import ModelAnswer
from gateway.results.words import STATES, reason_words, value_words


def features_by_name(model: language.ModelManifest) -> dict[str, language.Feature]:
    """Return how each input, exclusion, finding and fallback input is looked for, by its name, in the manifest's order."""
    found: dict[str, language.Feature] = {spec.name: spec.feature for spec in model.inputs}
    found |= {exclusion.name: exclusion.feature for exclusion in model.eligibility.exclusions}
    found |= {finding.name: finding.feature for finding in model.findings}
    return found | {spec.name: spec.feature for fallback in model.fallbacks for spec in fallback.features}


def explain_input(found: ModelAnswer, name: str, feature: language.Feature) -> tuple[str, ...]:
    """Return the sentences about one input."""
    value = found.report.inputs[name]
    return (f"Looked for: {feature_words(feature)}.", *_evidence(value), *_verdict(found, value))


def _evidence(value: InputValue) -> Iterable[str]:
    for proof in value.evidence:
        number = f"{proof.raw_value:g}" if isinstance(proof.raw_value, float) else proof.raw_value
        raw = " ".join(str(part) for part in (number, proof.raw_unit) if part is not None)
        when = f" of {proof.time.isoformat(timespec='minutes')}" if proof.time is not None else ""
        yield f"Found: {raw or 'an entry'} in {proof.source.reference}{when}."
    if value.lineage:
        yield f"Computed by {value.lineage.get('model', 'another model')} {value.lineage.get('version', '')}".rstrip() + "."


def _verdict(found: ModelAnswer, value: InputValue) -> Iterable[str]:
    shown = f" {value_words(value)}" if value.value is not None else ""
    if value.state is InputState.VALID:
        yield f"Used:{shown}."
    elif value.usable:
        yield f"Used, {STATES[value.state]}:{shown}."
    else:
        yield f"Not used, {STATES[value.state]}{':' if shown else ''}{shown}."
    for reason in value.reasons:
        yield f"{reason}: {reason_words(reason, found)}" + (f" ({reason.detail})." if reason.detail else ".")


def feature_words(feature: language.Feature) -> str:
    """Return how an input is looked for, in words; an operator without words of its own is named."""
    if isinstance(feature, language.LatestOf):
        return "the latest of: " + "; ".join(feature_words(option) for option in feature.options)
    if isinstance(feature, language.FirstOf):
        return ", else ".join(feature_words(option) for option in feature.options)
    words = _WORDS.get(type(feature))
    return words(feature) if words is not None else f"by the operator {feature.__struct_config__.tag}"


def _condition_words(feature: language.ConditionPresent) -> str:
    what = "conditions and procedures" if feature.procedures else "conditions"
    scope = "active" if feature.scope == "active" else "active or past"
    since = f", within {feature.within_days} days" if feature.within_days is not None else ""
    return f"{scope} {what} of the group {feature.group}{since}"


def _bound_words(feature: language.Threshold) -> str:
    return f"above {feature.above:g}" if feature.above is not None else f"below {feature.below:g}"


# Any: each entry takes its own kind of feature, and the key is that kind.
_WORDS: Mapping[type, Callable[[Any], str]] = {
    language.Age: lambda _: "completed years from the birth date",
    language.SexAtAsOf: lambda _: "sex for clinical use, else recorded sex and gender where they agree",
    language.Newest: lambda feature: f"the newest usable value of {feature.concept}",
    language.NewestPair: lambda feature: f"the newest value of {feature.concept} from a date that has {feature.partner} too",
    language.MeanOfNewest: lambda feature: f"the mean of up to {feature.count} newest values of {feature.concept}",
    language.Quotient: lambda feature: f"{feature.numerator} and {feature.denominator}, to compute it from",
    language.CodedCategory: lambda feature: f"the newest answer of {feature.concept} with a known code",
    language.ReferenceLimit: lambda feature: f"the {feature.end} limit that the laboratory states with the newest {feature.concept}",
    language.ConditionPresent: _condition_words,
    language.NightsOfStay: lambda _: "the midnights passed in the stay",
    language.UrgentStay: lambda _: "how urgent the admission of the stay was, by its priority or by an emergency visit before it",
    language.StaysCounted: lambda feature: f"encounters of {', '.join(feature.classes)} in the {feature.within_days} days before the stay",
    language.NewestInStay: lambda feature: f"the newest usable value of {feature.concept} in the stay",
    language.ProcedureInStay: lambda _: "any procedure in the stay",
    language.Threshold: lambda feature: f"whether the newest {feature.concept} is {_bound_words(feature)}",
    language.CurrentMedication: lambda feature: f"an order of the group {feature.group}, at most {feature.authored_days_max} days old",
    language.ProceduresCounted: lambda feature: f"at least {feature.count_min} listed procedures within {feature.within_days} days",
    language.ModelOutput: lambda feature: f"the output {feature.output} of the model {feature.model}",
    language.NotRecorded: lambda _: "nothing, because no record holds it",
    language.SiteSetting: lambda feature: f"what the site states as {feature.setting}",
}
