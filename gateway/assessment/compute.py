"""From a record to answers: pure, and the same for every edge, so that REST, CDS Hooks and the command line cannot disagree."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from gateway.assessment.ladder import climb_down
from gateway.assessment.ports import ModelRuntime, ReleasedModel
from gateway.clock import Deadline
from gateway.features.context import ExtractionContext
from gateway.features.extract import extract_inputs
from gateway.features.manifest import ModelManifest, Setting
from gateway.features.plan import models_read
from gateway.features.value import InputValue
from gateway.quality.judge import judge
from gateway.quality.setting import care_setting
from gateway.quality.upstream import output_as_input
from gateway.record.values import PatientRecord
from gateway.results.answer import ModelAnswer
from gateway.terminology import Terminology

ModelOutputs = dict[tuple[str, str], InputValue]
NO_SITE: Mapping[str, float | str] = {}


def required_models(manifests: Mapping[str, ModelManifest], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted models and those whose outputs they read, each after what it reads.

    Raises:
        KeyError: a name is not among the manifests.
    """
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        for read in models_read(manifests[name]):
            visit(read.model)
        ordered.setdefault(name)

    for name in wanted:
        visit(name)
    return tuple(ordered)


async def compute_answers(  # noqa: PLR0913 - when, in which setting and for which site is told by name
    record: PatientRecord,
    releases: Sequence[ReleasedModel],
    runtime: ModelRuntime,
    terminology: Terminology,
    *,
    as_of: dt.datetime,
    deadline: Deadline,
    setting: Setting | None = None,
    site: Mapping[str, float | str] = NO_SITE,
) -> tuple[ModelAnswer, ...]:
    """Answer for every release, in the order given (upstream models first). The record is already hidden after `as_of`."""
    outputs: ModelOutputs = {}
    answers = []
    read = {(found.model, found.output) for release in releases for found in models_read(release.manifest)}
    for release in releases:
        manifest = release.manifest
        known_setting, source = care_setting(setting, record, as_of, manifest)
        context = ExtractionContext(as_of=as_of, setting=known_setting, site=site)
        inputs = extract_inputs(manifest, record, terminology, context, outputs)
        report = judge(manifest, inputs, record.patient, as_of, known_setting, source)
        answer = await climb_down(release, report, runtime, deadline)
        outputs.update(_as_inputs(answer, read))
        answers.append(answer)
    return tuple(answers)


def _as_inputs(answer: ModelAnswer, read: AbstractSet[tuple[str, str]]) -> ModelOutputs:
    """Return those outputs that other models read, as they read them: unrounded, with lineage, evidence and reasons."""
    manifest = answer.manifest
    lineage = {"model": manifest.name, "version": manifest.version, "sha256": answer.release.graph_sha256}
    values = {prediction.output: prediction.value for prediction in answer.predictions}
    return {
        (manifest.name, output.name): output_as_input(manifest, answer.report, output.name, values.get(output.name), lineage)
        for output in manifest.outputs
        if (manifest.name, output.name) in read
    }
