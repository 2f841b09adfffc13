"""Third-party patients go through the whole pure pipeline, from the published Bundle to the rendered answer."""

from collections import Counter, defaultdict

from third_party_answers import PAGE, verdict_page

from gateway.quality.report import Verdict
from gateway.results.bundle import render_bundle
from gateway.results.card import CardPolicy, render_cards
from gateway.results.plain import describe

PATIENTS = 105
REASONS_SHOWN = 12


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


def test_the_page_of_verdicts_is_up_to_date(patients, answer_of):
    """docs/third-party-verdicts.md counts what the released models say today."""
    assert PAGE.read_text(encoding="utf-8") == verdict_page(patients, answer_of)


def show(verdicts, reasons, figure):
    """Print per source what was answered, and the most frequent reasons."""
    for source in sorted(verdicts):
        told = ", ".join(f"{model} {verdict} {count}" for (model, verdict), count in sorted(verdicts[source].items()))
        figure(f"{source}: {told}")
        for reason, count in reasons[source].most_common(REASONS_SHOWN):
            figure(f"    {count:>4} x {reason}")
