"""Whether a manifest and the terminology fit together: found once when a release is loaded, never in front of a patient."""

from collections import Counter
from collections.abc import Iterator

from gateway.features.extract import concepts_of
from gateway.features.manifest import (
    Age,
    Choice,
    CodedCategory,
    ConditionPresent,
    CurrentMedication,
    FirstOf,
    InputSpec,
    MeanOfNewest,
    ModelManifest,
    Newest,
    NewestInStay,
    NewestPair,
    NightsOfStay,
    ProcedureInStay,
    ProceduresCounted,
    Quotient,
    ReferenceLimit,
    SexAtAsOf,
    SimpleFeature,
    StaysCounted,
    UrgentStay,
)
from gateway.record.reason import ReasonCode
from gateway.terminology import Terminology

_ANY = "any"
_ABOUT_STAY = (NightsOfStay, UrgentStay, StaysCounted, NewestInStay, ProcedureInStay)
_CODES = frozenset(code.value for code in ReasonCode)


def manifest_problems(manifest: ModelManifest, terminology: Terminology) -> tuple[str, ...]:
    """Return everything that would go wrong, in words that name the place; empty when the manifest is sound."""
    return (
        *_name_problems(manifest),
        *_reference_problems(manifest),
        *_variant_problems(manifest),
        *_stay_problems(manifest),
        *_together_problems(manifest, terminology),
        *(problem for spec in _specs(manifest) for problem in _spec_problems(spec, terminology)),
        *(
            f"exclusion {exclusion.name}: {problem}"
            for exclusion in manifest.eligibility.exclusions
            for problem in _feature_problems(exclusion.feature, None, terminology)
        ),
    )


def _specs(manifest: ModelManifest) -> tuple[InputSpec, ...]:
    return (*manifest.inputs, *(spec for fallback in manifest.fallbacks for spec in fallback.features))


def _name_problems(manifest: ModelManifest) -> Iterator[str]:
    names = [spec.name for spec in _specs(manifest)] + [exclusion.name for exclusion in manifest.eligibility.exclusions]
    names += [finding.name for finding in manifest.findings]
    for kind, given in (
        ("input or exclusion", names),
        ("tensor", [spec.tensor for spec in _specs(manifest)]),
        ("output", [output.name for output in manifest.outputs]),
    ):
        yield from (f"{kind} {name} is declared twice" for name, count in Counter(given).items() if count > 1)
    yield from _graph_problems(manifest)
    if sum(isinstance(spec.feature, Age) for spec in manifest.inputs) != 1:
        yield "eligibility needs exactly one input with the operator age"
    if manifest.eligibility.uses_sex and not any(isinstance(spec.feature, SexAtAsOf) for spec in manifest.inputs):
        yield "a model that uses sex needs an input with the operator sex"


def _graph_problems(manifest: ModelManifest) -> Iterator[str]:
    """A graph that does not say itself what applies is run whole or not at all, so every output needs every input that may be asked for."""
    indices = sorted(output.index for output in manifest.outputs)
    if manifest.applicable_tensor is not None:
        if indices != list(range(len(manifest.outputs))):
            yield "the outputs' indices are not 0, 1, 2 ..."
        if manifest.packed_tensor is not None or manifest.element != "float64" or manifest.backend == "remote":
            yield "packed_tensor, element and a remote backend are for graphs without applicable_tensor"
        return
    if len(set(indices)) < len(indices) or indices[:1] < [0]:
        yield "two outputs have the same index, or one is below 0"
    if manifest.variant_tensor is not None and (manifest.packed_tensor is not None or manifest.backend == "remote"):
        yield "a packed graph and a remote model have no variants"
    required = {spec.name for spec in manifest.inputs if not spec.optional}
    for output in manifest.outputs:
        missing = sorted(required.difference(output.needs))
        if missing or output.graph_decides:
            yield f"output {output.name} of a graph without applicable_tensor needs every input that is not optional: {', '.join(missing)}"


def _reference_problems(manifest: ModelManifest) -> Iterator[str]:
    inputs = {spec.name for spec in manifest.inputs}
    optional = {spec.name for spec in manifest.inputs if spec.optional}
    outputs = {output.name for output in manifest.outputs}
    for output in manifest.outputs:
        yield from (f"output {output.name} needs {name}, which is no input" for name in output.needs if name not in inputs)
        yield from (f"output {output.name} needs {name}, which is optional" for name in output.needs if name in optional)
    for spec in manifest.inputs:
        only_for = spec.model_range.only_for if spec.model_range is not None else ()
        yield from (f"input {spec.name}: {name} is no output" for name in only_for if name not in outputs)
    for pair in manifest.consistency:
        yield from (f"consistency {pair.name}: {name} is no input" for name in (pair.left, pair.right) if name not in inputs)
    yield from _output_problems(manifest, outputs)
    for exclusion in manifest.eligibility.exclusions:
        if exclusion.reason not in _CODES:
            yield f"exclusion {exclusion.name}: {exclusion.reason} is no reason code"
    yield from _fallback_problems(manifest, inputs)


def _output_problems(manifest: ModelManifest, outputs: set[str]) -> Iterator[str]:
    """A detail is never shown as an answer; what it explains, and what a band depends on, are outputs."""
    shown = {output.name for output in manifest.outputs if not output.detail}
    if manifest.alert_output is not None and manifest.alert_output not in shown:
        yield f"alert_output {manifest.alert_output} is no output that is shown"
    terms = {output.name for output in manifest.outputs if output.term_of and output.term_of == manifest.alert_output}
    yield from (f"alert_terms: {name} is no term of the alert output" for name in manifest.alert_terms if name not in terms)
    for output in manifest.outputs:
        if output.detail and (output.headline or output.label or output.bands):
            yield f"output {output.name} is a detail and has a headline, a label or bands"
        if output.term_of and (not output.detail or output.term_of not in shown):
            yield f"output {output.name} is a term of {output.term_of}, which is not shown, or is itself no detail"
        yield from (
            f"output {output.name}: a band depends on {name}" for band in output.bands for name in band.only_when if name not in outputs
        )


def _fallback_problems(manifest: ModelManifest, inputs: set[str]) -> Iterator[str]:
    for fallback in manifest.fallbacks:
        known = inputs | {spec.name for spec in fallback.features}
        codes = [code for group in fallback.opens_on.values() for code in group if code != _ANY]
        yield from (f"fallback {fallback.score}: {name} is no input" for name in fallback.parameters.values() if name not in known)
        yield from (f"fallback {fallback.score}: opens on {name}, which is no input" for name in fallback.opens_on if name not in inputs)
        yield from (f"fallback {fallback.score}: {code} is no reason code" for code in (*codes, *fallback.not_when) if code not in _CODES)


def _together_problems(manifest: ModelManifest, terminology: Terminology) -> Iterator[str]:
    """What is said about several inputs names inputs, and codes that exist."""
    inputs = {spec.name for spec in manifest.inputs}
    named = [("spread", name) for spread in manifest.spread for name in spread.inputs]
    named += [(f"finding {finding.name}", finding.input) for finding in manifest.findings]
    named += [(f"fallback {fallback.score}", name) for fallback in manifest.fallbacks for name in fallback.beyond_range]
    yield from (f"{place}: {name} is no input" for place, name in named if name not in inputs)
    for finding in manifest.findings:
        yield from (f"finding {finding.name}: {problem}" for problem in _feature_problems(finding.feature, None, terminology))
    reasons = [(spec.name, spec.model_range.reason) for spec in manifest.inputs if spec.model_range is not None]
    reasons += [(output.name, output.age_reason) for output in manifest.outputs if output.age_reason]
    yield from (f"{name}: there is no reason code {code}" for name, code in reasons if code not in _CODES)


def _stay_problems(manifest: ModelManifest) -> Iterator[str]:
    """What is asked of a stay needs a word on which stay is meant."""
    if manifest.index_stay is None:
        needing = [spec.name for spec in _specs(manifest) if isinstance(spec.feature, _ABOUT_STAY)]
        yield from (f"input {name} is about a stay, and index_stay is not declared" for name in needing)


def _variant_problems(manifest: ModelManifest) -> Iterator[str]:
    """Every set of valid optional inputs must lead to exactly one variant."""
    if not manifest.variants:
        return
    optional = [spec.name for spec in manifest.inputs if spec.optional]
    otherwise = sum(variant.otherwise for variant in manifest.variants)
    sets = Counter(frozenset(names) for variant in manifest.variants for names in variant.when)
    yield from (f"two variants are made for {sorted(names)}" for names, count in sets.items() if count > 1)
    for mask in range(1 << len(optional)):
        chosen = frozenset(name for place, name in enumerate(optional) if mask >> place & 1)
        if chosen not in sets and otherwise != 1:
            yield f"no variant is made for {sorted(chosen)}"


def _spec_problems(spec: InputSpec, terminology: Terminology) -> Iterator[str]:
    options = spec.feature.options if isinstance(spec.feature, Choice) else (spec.feature,)
    if isinstance(spec.feature, FirstOf) and len(spec.feature.cautions) > len(options):
        yield f"input {spec.name}: more cautions than options"
    for option in options:
        yield from (f"input {spec.name}: {problem}" for problem in _feature_problems(option, spec, terminology))


def _feature_problems(feature: SimpleFeature, spec: InputSpec | None, terminology: Terminology) -> Iterator[str]:
    names = list(concepts_of(feature))
    if isinstance(feature, Quotient) and spec is not None:
        names.append(spec.concept)
    if isinstance(feature, CodedCategory):
        names += [*feature.values, *feature.unknown]
    if isinstance(feature, ConditionPresent):
        names += [feature.group, *feature.not_groups]
    if isinstance(feature, CurrentMedication):
        names.append(feature.group)
    if isinstance(feature, ProceduresCounted):
        names.append(feature.doubt_group)
    unknown = [name for name in names if name not in terminology.concepts]
    yield from (f"the terminology does not know {name}" for name in unknown)
    if spec is not None and not unknown and isinstance(feature, Newest | NewestPair | MeanOfNewest | ReferenceLimit | NewestInStay):
        unit = terminology.concept(feature.concept).unit
        if unit != spec.unit:
            yield f"its unit is {spec.unit}, the terminology holds {feature.concept} in {unit}"
