"""The ladder: a graph's number on GPU or CPU, else a published score under its own name, else a plain "no estimate".

Nothing here raises for a clinical reason: whatever happens, each model ends in exactly one verdict with its reasons.
"""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.assessment.ports import ModelRuntime, ReleasedModel, RunFailed, RunResult
from gateway.clock import Deadline
from gateway.features.band import band_of
from gateway.features.manifest import FallbackSpec, ModelManifest
from gateway.features.value import InputValue
from gateway.quality.fallback import fallbacks_after_failure, input_for
from gateway.quality.judge import after_run
from gateway.quality.report import QualityReport, Verdict
from gateway.record.reason import Reason, ReasonCode
from gateway.results.answer import FallbackAnswer, ModelAnswer, Prediction, Rung
from gateway.scores import SCORES, Score, ScoreRefused

DISAGREES = "the graph and the quality report disagree on which outputs apply"


async def climb_down(release: ReleasedModel, report: QualityReport, runtime: ModelRuntime, deadline: Deadline) -> ModelAnswer:
    """Answer for one model from the highest rung that gives a believable number before the deadline."""
    if not report.available:
        return _without_graph(release, report, rung_reason="")
    try:
        result = await run_graph(runtime, release.manifest.name, _tensors(release.manifest, report.inputs), report.variant_index, deadline)
    except RunFailed as failure:
        return _without_graph(release, _after_failure(release.manifest, report), rung_reason=failure.reason)
    report = after_run(release.manifest, report, result.applicable)
    values = _values(release.manifest, report, result)
    if len(values) != len(report.available):
        return _without_graph(release, _after_failure(release.manifest, report), rung_reason=DISAGREES)
    return ModelAnswer(
        manifest=release.manifest,
        release=msgspec.structs.replace(release.identity, runtime=result.runtime),
        report=report,
        verdict=report.verdict,
        rung=result.rung,
        predictions=tuple(_predictions(release.manifest, values)),
        fallbacks=_fallback_answers(release.manifest, report),
        rung_reason=result.stepped_down,
    )


async def run_graph(
    runtime: ModelRuntime, model: str, tensors: Mapping[str, float], variant_index: int | None, deadline: Deadline
) -> RunResult:
    """Run one row; a graph in the process answers at once, and no task is switched for it.

    Raises:
        RunFailed: no rung gave a believable result.
    """
    found = runtime.run(model, tensors, variant_index, deadline)
    return found if isinstance(found, RunResult) else await found


def _tensors(manifest: ModelManifest, inputs: Mapping[str, InputValue]) -> dict[str, float]:
    """Return what the graph gets; an unusable input is NaN and poisons every output that needs it."""
    return {spec.tensor: inputs[spec.name].tensor_value for spec in manifest.inputs}


def _values(manifest: ModelManifest, report: QualityReport, result: RunResult) -> dict[str, float]:
    """Return the numbers that may be used, by output: available by the judgement and applicable by the graph."""
    return {
        output.name: result.values[output.index]
        for output in manifest.outputs
        if output.name in report.available and result.applicable[output.index]
    }


def _predictions(manifest: ModelManifest, values: Mapping[str, float]) -> Iterable[Prediction]:
    """Yield what may be shown; details (sub-scores, raw sums) stand as terms of the output they explain."""
    for output in manifest.outputs:
        if output.name in values and not output.detail:
            band = band_of(output, values)
            terms = {part.name: values[part.name] for part in manifest.outputs if part.term_of == output.name and part.name in values}
            yield Prediction(output=output.name, value=values[output.name], band=band.name if band else None, terms=terms)


def _after_failure(manifest: ModelManifest, report: QualityReport) -> QualityReport:
    """Withhold everything: the runtime gave no number that may be shown. Scores whose inputs are valid may now stand in."""
    failure = Reason(ReasonCode.RUNTIME_FAILURE, manifest.name)
    withheld = {**report.withheld, **dict.fromkeys(report.available, (failure,))}
    return msgspec.structs.replace(
        report,
        verdict=Verdict.INDETERMINATE,
        reasons=(failure, *report.reasons),
        available=(),
        withheld=withheld,
        fallbacks=fallbacks_after_failure(manifest, report.inputs),
    )


def _without_graph(release: ReleasedModel, report: QualityReport, *, rung_reason: str) -> ModelAnswer:
    """Answer with the published fallbacks, or with nothing but the reasons."""
    fallbacks = _fallback_answers(release.manifest, report)
    return ModelAnswer(
        manifest=release.manifest,
        release=release.identity,
        report=report,
        verdict=Verdict.FALLBACK if fallbacks else report.verdict,
        rung=Rung.FALLBACK_SCORE if fallbacks else Rung.NONE,
        fallbacks=fallbacks,
        rung_reason=rung_reason,
    )


def _fallback_answers(manifest: ModelManifest, report: QualityReport) -> tuple[FallbackAnswer, ...]:
    specs = {spec.score: spec for spec in manifest.fallbacks}
    answers = (_fallback_answer(specs[name], report.inputs) for name in report.fallbacks)
    return tuple(answer for answer in answers if answer is not None)


def _fallback_answer(spec: FallbackSpec, inputs: Mapping[str, InputValue]) -> FallbackAnswer | None:
    """Return the score's answer; None when the score itself refuses an input (then there is no estimate)."""
    score = SCORES[spec.score]
    used = {parameter: input_for(spec, inputs[name]) for parameter, name in spec.parameters.items()}
    if spec.partial:
        used = {parameter: value for parameter, value in used.items() if value.usable}
    try:
        result = score.compute(_score_inputs(score, used))
    except ScoreRefused:
        return None
    return FallbackAnswer(
        score=score.name,
        title=score.title,
        citation=score.citation,
        outcome_text=score.outcome_text,
        horizon_years=score.horizon_years,
        value=result.value,
        qualitative=result.qualitative,
        unit=result.unit,
        scale=score.scale,
        decimals=score.decimals,
        score_range=result.score_range,
        alerts=result.alerts,
        inputs=used,
        cautions=result.cautions,
        notes=result.notes,
    )


def _score_inputs(score: Score, used: Mapping[str, InputValue]) -> dict[str, float | str]:
    """Return numbers by parameter, and for an optional parameter `X_loinc` the code under which X was reported."""
    numbers: dict[str, float | str] = {parameter: value.tensor_value for parameter, value in used.items()}
    for name in score.optional:
        if not name.endswith("_loinc"):
            continue
        value = used.get(name.removesuffix("_loinc"))
        code = value.evidence[0].code if value is not None and value.evidence else None
        if code is not None:
            numbers[name] = code
    return numbers
