"""From a record to answers: pure, and the same for every edge, so that REST, CDS Hooks and the command line cannot disagree."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

from gateway.assessment.ladder import climb_down
from gateway.assessment.ports import ModelRuntime, ReleasedModel
from gateway.clock import Deadline
from gateway.features.context import NO_SITE, Chart, RecordIndex, SiteWords
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
    site: SiteWords = NO_SITE,
) -> tuple[ModelAnswer, ...]:
    """Answer for every release, in the order given (upstream models first). The record is already hidden after `as_of`."""
    index = RecordIndex(record, terminology, as_of)
    given = _Given()
    for release in releases:
        manifest = release.manifest
        known_setting, source = care_setting(setting, record, as_of, manifest)
        inputs = extract_inputs(manifest, Chart(index, known_setting, site, given, stay=manifest.index_stay))
        report = judge(manifest, inputs, record.patient, as_of, known_setting, source)
        given.answers[manifest.name] = await climb_down(release, report, runtime, deadline)
    return tuple(given.answers.values())


class _Given:
    """What the models have answered so far, as others read it: unrounded, with lineage, evidence and reasons."""

    def __init__(self) -> None:
        self.answers: dict[str, ModelAnswer] = {}

    def get(self, output: tuple[str, str], /) -> InputValue | None:
        """Return one output of a model; None where it was not run or has no such output."""
        model, name = output
        answer = self.answers.get(model)
        if answer is None or all(spec.name != name for spec in answer.manifest.outputs):
            return None
        lineage = {"model": model, "version": answer.manifest.version, "sha256": answer.release.graph_sha256}
        value = next((prediction.value for prediction in answer.predictions if prediction.output == name), None)
        return output_as_input(answer.manifest, answer.report, name, value, lineage)
