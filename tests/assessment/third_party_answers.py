"""The third-party patients, what all released models answer about them, and the page that counts the answers.

python tests/assessment/third_party_answers.py      # writes docs/third-party-verdicts.md
"""

import asyncio
import datetime as dt
import gzip
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

from gateway.assessment.compute import compute_answers
from gateway.clock import Deadline, SystemClock
from gateway.config import Settings
from gateway.inference.runtime import Runtime, RuntimePlan
from gateway.quality.report import Verdict
from gateway.record import build_record, hide_later, read_bundle
from gateway.registry import load_code_sets
from gateway.results.answer import AssessmentAnswer
from gateway.sandbox.fixture import fixtures_dir
from gateway.sandbox.relative import render_dates
from gateway.served_models import SHIPPED_MODELS, EngineRuntime, load_models

# For patients without any dated resource the index suggests no time; any fixed one does.
SOME_TIME = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
REASONS_SHOWN = 10
SYNTHETIC = {"meld3": "test-liver", "news2": "test-ward"}
SECONDS_MAX = 10.0  # of one patient
SITE = {"region": "north_america"}  # most of the sources are; stated here as a site would
PAGE = Path(__file__).resolve().parents[2] / "docs" / "third-party-verdicts.md"
HEAD = """# What the models say about third-party patients

105 published patients of 12 sources, with all their dirt, each at the time its data end, each record declared complete. The sources are
sample data: most records hold no complete set of anything, and saying so is the answer. Nothing of the records stands here, only counts.

KFRE is told that the site lies in North America. Written by `python tests/assessment/third_party_answers.py`; a test keeps it up to date
where the patients are at hand.

A patient counts once per model. Reasons are those that withhold or caution; one patient may have several.
"""


def patients_folder():
    """Return the folder of the third-party patients, None where it is not here."""
    named = os.environ.get("GATEWAY_PATIENTS_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "fhir"
    return folder if (folder / "index.json").is_file() else None


def read_patients(folder):
    """Return (index entry, Bundle as published) of every patient."""
    index = json.loads((folder / "index.json").read_text())
    lines = {name: gzip.decompress((folder / name).read_bytes()).splitlines() for name in {entry["file"] for entry in index}}
    return [(entry, lines[entry["file"]][entry["line"] - 1]) for entry in index]


def suggested_as_of(entry):
    """Return the time at which the index suggests to look at a patient."""
    at = dt.datetime.fromisoformat(entry["suggested_as_of"]) if entry["suggested_as_of"] else SOME_TIME
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


class Answerer:
    """All released models, asked about one patient after another at the suggested time."""

    def __init__(self):
        self.terminology = load_code_sets(SHIPPED_MODELS)
        engine = Runtime(RuntimePlan(), Path())
        self.models = load_models(Settings(), self.terminology, engine)
        self.runtime = EngineRuntime(engine)

    def __call__(self, entry, raw):
        as_of = suggested_as_of(entry)
        fetched = read_bundle(raw, patient_id=entry["id"], declared_complete=True)
        record = hide_later(build_record(fetched, self.terminology), as_of)
        deadline = Deadline(SystemClock(), SECONDS_MAX)
        releases = tuple(self.models.values())
        answers = asyncio.run(compute_answers(record, releases, self.runtime, self.terminology, as_of=as_of, deadline=deadline, site=SITE))
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


def synthetic_line(name, answer_of):
    """Return a sentence about the synthetic patient that gets a number from a model that gave none to anybody."""
    patient = SYNTHETIC[name]
    raw = render_dates((fixtures_dir() / f"{patient}.json").read_text(), SOME_TIME).encode()
    found = answer_of({"id": patient, "suggested_as_of": SOME_TIME.isoformat()}, raw).answers
    (answer,) = [one for one in found if one.manifest.name == name]
    numbers = ", ".join(f"{prediction.output} {prediction.value:.4g}" for prediction in answer.predictions)
    return f"None got a number. The synthetic patient `fixtures/{patient}.json` does: {numbers} ({answer.verdict.value})."


def verdict_page(patients, answer_of):
    """Return the page: per model the verdicts, who got a number, and the reasons of the others."""
    verdicts, reasons = defaultdict(Counter), defaultdict(Counter)
    for entry, raw in patients:
        for answer in answer_of(entry, raw).answers:
            name = answer.manifest.name
            verdicts[name][answer.verdict] += 1
            reasons[name].update({str(reason) for reason in answer.report.reasons})
    names = sorted(verdicts)
    lines = [
        HEAD,
        "| model | " + " | ".join(verdict.value for verdict in Verdict) + " | got a number |",
        "|---|" + "---|" * (len(Verdict) + 1),
    ]
    for name in names:
        counts = verdicts[name]
        numbers = counts[Verdict.SCORED] + counts[Verdict.SCORED_DEGRADED]
        lines.append(f"| {name} | " + " | ".join(str(counts[verdict]) for verdict in Verdict) + f" | {numbers} of {sum(counts.values())} |")
    for name in names:
        lines += ["", f"## {name}", ""]
        if not verdicts[name][Verdict.SCORED] + verdicts[name][Verdict.SCORED_DEGRADED]:
            lines += [synthetic_line(name, answer_of), ""]
        lines += ["| reason | patients |", "|---|---|"]
        ranked = sorted(reasons[name].items(), key=lambda found: (-found[1], found[0]))
        lines += [f"| {reason} | {count} |" for reason, count in ranked[:REASONS_SHOWN]]
        lines += [f"| {len(ranked) - REASONS_SHOWN} rarer reasons | |"] if len(ranked) > REASONS_SHOWN else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(verdict_page(read_patients(patients_folder()), Answerer()), encoding="utf-8")
