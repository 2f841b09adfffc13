"""Third-party patients go through the whole pure pipeline, from the published Bundle to the rendered answer."""

import asyncio
import datetime as dt
import gzip
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from gateway.app import SHIPPED_MODELS, EngineRuntime, load_models
from gateway.assessment.compute import compute_answers
from gateway.clock import Deadline, SystemClock
from gateway.config import Settings
from gateway.quality.report import Verdict
from gateway.record import build_record, hide_later, read_bundle
from gateway.registry import load_code_sets
from gateway.results.answer import AssessmentAnswer
from gateway.results.bundle import render_bundle
from gateway.results.card import CardPolicy, render_cards
from gateway.results.plain import describe

PATIENTS = 105
# For patients without any dated resource the index suggests no time; any fixed one does.
SOME_TIME = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
REASONS_SHOWN = 12


@pytest.fixture(scope="module")
def patients():
    """Yield (index entry, Bundle as published) of every patient."""
    named = os.environ.get("GATEWAY_PATIENTS_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "fhir"
    if not (folder / "index.json").is_file():
        pytest.skip("the third-party patients are not here: set GATEWAY_PATIENTS_DIR")
    index = json.loads((folder / "index.json").read_text())
    lines = {name: gzip.decompress((folder / name).read_bytes()).splitlines() for name in {entry["file"] for entry in index}}
    return [(entry, lines[entry["file"]][entry["line"] - 1]) for entry in index]


@pytest.fixture(scope="module")
def answer_of():
    """Return a function from (index entry, Bundle) to the answer at the suggested time, the record declared complete."""
    terminology = load_code_sets(SHIPPED_MODELS)
    models, engine = load_models(Settings(), terminology)
    runtime = EngineRuntime(engine)

    def answer(entry, raw):
        as_of = suggested_as_of(entry)
        record = hide_later(build_record(read_bundle(raw, patient_id=entry["id"], declared_complete=True), terminology), as_of)
        answers = asyncio.run(
            compute_answers(record, tuple(models.values()), runtime, terminology, as_of=as_of, deadline=Deadline(SystemClock(), 10))
        )
        return AssessmentAnswer(
            assessment_id="00000000-0000-4000-8000-000000000000",
            patient_id=entry["id"],
            base_url=None,
            as_of=as_of,
            answered_at=as_of,
            retrospective=True,
            answers=answers,
            dropped=record.dropped,
        )

    return answer


def suggested_as_of(entry):
    """Return the time at which the index suggests to look at a patient."""
    at = dt.datetime.fromisoformat(entry["suggested_as_of"]) if entry["suggested_as_of"] else SOME_TIME
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def test_every_third_party_patient_gets_an_answer(patients, answer_of, figure):
    """No exception; each model ends in one verdict, each estimate rests on inputs, each silence has a reason; a table counts them."""
    verdicts, reasons = defaultdict(Counter), defaultdict(Counter)
    for entry, raw in patients:
        answer = answer_of(entry, raw)
        source = entry["file"].removesuffix(".ndjson.gz")
        for found in answer.answers:
            name = found.manifest.name
            verdicts[source][name, found.verdict.value] += 1
            reasons[source].update(f"{name} {reason}" for reason in found.report.reasons)
            assert bool(found.predictions) == (found.verdict in (Verdict.SCORED, Verdict.SCORED_DEGRADED)), entry["id"]
            assert found.predictions or found.report.reasons, entry["id"]
        assert render_bundle(answer)["entry"]
        assert render_cards(answer, CardPolicy())["cards"] == []  # retrospective
        assert describe(answer)
    show(verdicts, reasons, figure)
    assert sum(sum(counts.values()) for counts in verdicts.values()) == PATIENTS * len(answer.answers)


def show(verdicts, reasons, figure):
    """Print per source what was answered, and the most frequent reasons."""
    for source in sorted(verdicts):
        told = ", ".join(f"{model} {verdict} {count}" for (model, verdict), count in sorted(verdicts[source].items()))
        figure(f"{source}: {told}")
        for reason, count in reasons[source].most_common(REASONS_SHOWN):
            figure(f"    {count:>4} x {reason}")
