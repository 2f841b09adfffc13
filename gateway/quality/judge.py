"""The judgement: graded inputs, the patient and the setting become a verdict, output by output (rules 1)."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from gateway.features.manifest import Age, ModelManifest, OutputSpec, Setting, Variant
from gateway.features.value import InputState, InputValue
from gateway.quality.eligibility import judge_eligibility
from gateway.quality.fallback import open_fallbacks
from gateway.quality.grading import Grades, grade_inputs
from gateway.quality.report import QualityReport, SettingSource, Verdict
from gateway.record.reason import NOT_APPLICABLE_CODES, Reason, ReasonCode
from gateway.record.values import PatientFacts

# An optional input that is not there, too old or of another time than its partners changes the variant alone; its state shows it.
_SILENT_WHEN_OPTIONAL = frozenset({InputState.MISSING, InputState.STALE})


def judge(
    manifest: ModelManifest,
    inputs: Mapping[str, InputValue],
    patient: PatientFacts,
    as_of: dt.datetime,
    setting: Setting,
    setting_source: SettingSource,
) -> QualityReport:
    """Return what may be answered and why not the rest. Every input, exclusion and fallback input of the manifest must be in `inputs`."""
    grades = grade_inputs(manifest, inputs, as_of, setting)
    eligible = judge_eligibility(manifest, grades.inputs, patient, as_of, (setting, setting_source))
    graded = {**grades.inputs, **eligible.inputs}
    variant = choose_variant(manifest, graded)
    general = eligible.reasons
    if manifest.variants and variant is None:
        general = (*general, Reason(ReasonCode.CONFIG_MISSING, "variant", "no variant for these optional inputs"))
    outputs = outputs_at_age(manifest, graded)
    withheld = _withheld(outputs, graded, grades, general)
    if not general:
        for output in outputs:
            if reasons := _age_reasons(output, manifest, graded):
                withheld[output.name] = _once((*withheld.get(output.name, ()), *reasons))
    available = tuple(output for output in outputs if output.name not in withheld)
    reasons = _reasons(manifest, graded, (general, *withheld.values()), available)
    fallbacks = () if eligible.shuts_fallbacks else open_fallbacks(manifest, graded, reasons)
    return QualityReport(
        model=manifest.name,
        model_version=manifest.version,
        as_of=as_of,
        setting=setting,
        setting_source=setting_source,
        verdict=decide_verdict(reasons, withheld, answered=bool(available)),
        reasons=reasons,
        inputs=graded,
        available=tuple(output.name for output in available),
        withheld=withheld,
        fallbacks=fallbacks,
        variant=variant.name if variant else None,
        variant_index=variant.index if variant else None,
    )


def outputs_at_age(manifest: ModelManifest, inputs: Mapping[str, InputValue]) -> tuple[OutputSpec, ...]:
    """Return the outputs the model has at this age. Where the age is not known, all of them: they are then withheld, not left out."""
    ages = [inputs[spec.name].value for spec in manifest.inputs if isinstance(spec.feature, Age)]
    age = ages[0] if ages else None
    return tuple(output for output in manifest.outputs if output.age_reason or _is_at_age(output, age))


def _is_at_age(output: OutputSpec, age: float | None) -> bool:
    return output.age_years is None or age is None or output.age_years.holds(age)


def _age_reasons(output: OutputSpec, manifest: ModelManifest, inputs: Mapping[str, InputValue]) -> tuple[Reason, ...]:
    """Return why an output of an eligible patient is withheld at this age, where the manifest has a code for that."""
    if not output.age_reason:
        return ()
    ages = [inputs[spec.name].value for spec in manifest.inputs if isinstance(spec.feature, Age)]
    if _is_at_age(output, ages[0] if ages else None):
        return ()
    return (Reason(ReasonCode(output.age_reason), "", "not made for this age"),)


def choose_variant(manifest: ModelManifest, inputs: Mapping[str, InputValue]) -> Variant | None:
    """Return the variant made for exactly the optional inputs that are valid, else the one for everything else, or None."""
    return variant_for(manifest, {spec.name for spec in manifest.inputs if spec.optional and inputs[spec.name].usable})


def variant_for(manifest: ModelManifest, valid: AbstractSet[str]) -> Variant | None:
    """Return the variant made for exactly these optional inputs, by name, else the one for everything else, or None."""
    exact = next((variant for variant in manifest.variants if any(set(names) == valid for names in variant.when)), None)
    return exact or next((variant for variant in manifest.variants if variant.otherwise), None)


def _withheld(
    outputs: Iterable[OutputSpec], inputs: Mapping[str, InputValue], grades: Grades, general: tuple[Reason, ...]
) -> dict[str, tuple[Reason, ...]]:
    withheld: dict[str, tuple[Reason, ...]] = {}
    by_needs: dict[tuple[str, ...], list[Reason]] = {}  # most outputs need the same inputs
    for output in outputs:
        reasons = by_needs.get(output.needs)
        if reasons is None:
            bad = (inputs[name] for name in output.needs)
            reasons = by_needs[output.needs] = [reason for value in bad if not value.usable for reason in value.reasons if reason.withholds]
        every = (*general, *reasons, *grades.by_output.get(output.name, ()))
        if every:
            withheld[output.name] = _once(every)
    for output in outputs:  # a part says nothing without the number it explains
        if output.term_of in withheld:
            withheld.setdefault(output.name, withheld[output.term_of])
    return withheld


def _reasons(
    manifest: ModelManifest, inputs: Mapping[str, InputValue], withholding: Iterable[tuple[Reason, ...]], available: tuple[OutputSpec, ...]
) -> tuple[Reason, ...]:
    """Return each reason that has an effect, once: what withholds, what dropped an optional input, what must be said beside an answer."""
    reasons = [reason for group in withholding for reason in group]
    used = {name for output in available for name in output.needs}
    cautions: list[Reason] = []
    for spec in manifest.inputs:
        value = inputs[spec.name]
        if spec.optional and not value.usable and value.state not in _SILENT_WHEN_OPTIONAL:
            reasons += (reason for reason in value.reasons if reason.withholds and reason.code is not ReasonCode.NOT_CONTEMPORANEOUS)
        if available and value.usable and value.reasons and (spec.optional or spec.name in used):
            cautions += value.reasons
    if available:
        exclusions = (inputs[exclusion.name] for exclusion in manifest.eligibility.exclusions)
        cautions += (reason for value in exclusions for reason in value.reasons if not reason.withholds)
    return _once((*reasons, *cautions))


def after_run(manifest: ModelManifest, report: QualityReport, applicable: Sequence[bool]) -> QualityReport:
    """Return the report once the graph has run: outputs of valid inputs that the manifest lets the graph withhold are told as withheld."""
    withheld = {
        output.name: (Reason(ReasonCode.VALUE_OUT_OF_MODEL_RANGE, output.graph_decides, f"{output.title}: no figure beyond the range"),)
        for output in manifest.outputs
        if output.graph_decides and output.name in report.available and not applicable[output.index]
    }
    if not withheld:
        return report
    reasons = _once((*report.reasons, *(reason for group in withheld.values() for reason in group)))
    return msgspec.structs.replace(
        report,
        verdict=decide_verdict(reasons, withheld, answered=len(withheld) < len(report.available)),
        reasons=reasons,
        available=tuple(name for name in report.available if name not in withheld),
        withheld={**report.withheld, **withheld},
    )


def decide_verdict(reasons: tuple[Reason, ...], withheld: Mapping[str, tuple[Reason, ...]], *, answered: bool) -> Verdict:
    """Return the verdict by rules 1: the reason decides; where both kinds withhold, the model is not applicable."""
    if answered:
        return Verdict.SCORED_DEGRADED if reasons or withheld else Verdict.SCORED
    codes = {reason.code for group in withheld.values() for reason in group}
    return Verdict.INDETERMINATE if codes.isdisjoint(NOT_APPLICABLE_CODES) else Verdict.NOT_APPLICABLE


def _once(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    seen: dict[tuple[ReasonCode, str], Reason] = {}
    for reason in reasons:
        seen.setdefault((reason.code, reason.subject), reason)
    return tuple(seen.values())
