"""The table of `fixtures/README.md`, read by the test: every synthetic patient, pulled over HTTP, gets the verdict that stands there."""

import random
import re
from pathlib import Path

import pytest

from gateway.assessment.compute import compute_answers, required_models
from gateway.clock import Deadline, SystemClock
from gateway.features.manifest import ModelManifest
from gateway.features.plan import compile_plan
from gateway.fhir.client import FhirClient
from gateway.fhir.limits import FhirLimits
from gateway.inference.runtime import Runtime, RuntimePlan
from gateway.record import build_record, hide_later
from gateway.registry import admit_releases, load_code_sets
from gateway.results.answer import ReleaseIdentity
from gateway.sandbox import SandboxServer, fixtures_dir
from gateway.served_models import EngineRuntime, identity_of

CLOCK = SystemClock()
MODELS = Path(__file__).resolve().parents[2] / "models"
ROW = re.compile(r"^\| `([^`]+)` \| [^|]* \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
TABLE = ROW.findall((fixtures_dir() / "README.md").read_text(encoding="utf-8"))


class LoadedModel:
    """A release as the use case sees it."""

    def __init__(self, manifest: ModelManifest, identity: ReleaseIdentity) -> None:
        self.manifest = manifest
        self.identity = identity


@pytest.fixture(scope="module")
def assess():
    """Return a function that pulls and assesses one patient of the sandbox: (verdict, fallbacks, reasons) by model."""
    terminology, engine = load_code_sets(MODELS), Runtime(RuntimePlan(), Path())
    releases = {release.manifest.name: release for release in admit_releases(MODELS, engine, terminology)}
    names = required_models({name: release.manifest for name, release in releases.items()}, ["prevent", "ckdepi2021"])
    loaded = tuple(LoadedModel(releases[name].manifest, identity_of(releases[name])) for name in names)
    plan = compile_plan(tuple(model.manifest for model in loaded), terminology)

    async def run(base_url, patient_id):
        async with FhirClient(base_url, limits=FhirLimits(), clock=CLOCK, randomness=random.Random(1)) as client:
            fetched = await client.fetch(patient_id, plan, Deadline(CLOCK, 10), "test-1")
        now = CLOCK.now()
        record = hide_later(build_record(fetched, terminology), now)
        answers = await compute_answers(
            record, loaded, EngineRuntime(engine), terminology, as_of=now, deadline=Deadline(CLOCK, 10), setting=None
        )
        return {answer.manifest.name: told(answer) for answer in answers}

    with SandboxServer(clock=CLOCK) as sandbox:
        yield lambda patient_id: run(sandbox.base_url, patient_id)


def told(answer):
    """Return an answer in the words of the table."""
    return answer.verdict.value, frozenset(one.score for one in answer.fallbacks), frozenset(str(one) for one in answer.report.reasons)


def parse_cell(cell):
    """Return (verdict, fallbacks, reasons) of a cell such as `fallback + score: CODE:input, CODE`."""
    head, _, reasons = cell.strip().partition(": ")
    verdict, _, fallback = head.partition(" + ")
    return verdict, frozenset(filter(None, [fallback])), frozenset(filter(None, reasons.split(", ")))


def test_the_table_is_there():
    """Every fixture has a row that the test can read."""
    assert sorted(row[0] for row in TABLE) == sorted(path.stem for path in fixtures_dir().glob("*.json"))


@pytest.mark.asyncio
@pytest.mark.parametrize(("patient_id", "risk", "filtration"), TABLE, ids=[row[0] for row in TABLE])
async def test_a_synthetic_patient_gets_the_verdict_of_the_table(assess, patient_id, risk, filtration):
    """Verdict, fallback and reason codes of both models."""
    assert await assess(patient_id) == {"prevent": parse_cell(risk), "ckdepi2021": parse_cell(filtration)}
