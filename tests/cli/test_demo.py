"""The demo: what it prints stands in the README, and it does not age."""

import difflib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"
TEN_YEARS_DAYS = "3652"
DEMO_S_MAX = 100

# What differs from run to run: times, ids, ports, hashes, dates.
OWN_OF_A_RUN = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"log-[0-9a-f]{16}"), "LOG"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "HASH"),
)


def run_demo(**environment: str) -> str:
    """Run the demo as a user does, its output going to a pipe."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo"],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        timeout=DEMO_S_MAX,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def normalised(text: str) -> list[str]:
    for pattern, name in OWN_OF_A_RUN:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def readme_block() -> str:
    """Return the demo's output as the README shows it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    block = text.partition(BEGIN)[2].partition(END)[0]
    return block.partition("```\n")[2].rpartition("```")[0]


@pytest.fixture(scope="module")
def demo_today() -> str:
    """Return the demo's output."""
    return run_demo()


def test_the_readme_shows_what_the_demo_prints(demo_today):
    """Line by line the same, but for times, ids, ports, hashes and dates."""
    difference = list(
        difflib.unified_diff(normalised(readme_block()), normalised(demo_today), "README.md", "gateway demo", lineterm="", n=1)
    )
    assert not difference, "\n".join(
        ["the README is out of date: put the output of `python -m gateway demo` between its marks", *difference]
    )


def test_the_demo_passes_ten_years_from_now(demo_today):
    """The clock of gateway and FHIR server ten years ahead: the same output, and the years differ."""
    later = run_demo(GATEWAY__CLOCK__OFFSET_DAYS=TEN_YEARS_DAYS)
    assert normalised(later) == normalised(demo_today)
    assert year_of(later) == year_of(demo_today) + 10


def year_of(text: str) -> int:
    return int(re.search(r'"occurrenceDateTime": "(\d{4})', text)[1])


@pytest.mark.parametrize(
    ("patient", "says"),
    [
        ("demo-complete", ["RiskAssessment (final) PREVENT 1.0.0", "Verdict: scored. Answered by: model on CPU", "4.9 %"]),
        ("demo-si-units", ["Verdict: scored. Answered by: model on CPU", "total cholesterol 208.8 mg/dL"]),
        ("demo-stale-lab", ["too old: total cholesterol", "not usable: total cholesterol 218 mg/dL", "another score than PREVENT"]),
        ("demo-missing-lab", ["missing: total cholesterol", "Framingham", "Answered by: fallback score"]),
        ("demo-prior-disease", ["not applicable: known cardiovascular disease, already above primary-prevention risk", "no number"]),
        ("demo-impossible-value", ["no estimate: impossible value, a data error: sbp", "not usable: sbp 1320 mm[Hg]"]),
    ],
)
def test_each_patient_shows_what_it_is_for(demo_today, patient, says):
    """What was found, which verdict and rung, and why."""
    (section,) = re.findall(rf"== {patient}: .*? ==\n(.*?)\n\n", demo_today, flags=re.DOTALL)
    told = " ".join(section.split())
    assert all(" ".join(text.split()) in told for text in says), section


def test_the_demo_shows_a_risk_assessment_and_an_audit_log_that_notices(demo_today):
    """One RiskAssessment as JSON, a log that verifies, one changed byte that is found, and where to go next."""
    document = json.loads(re.search(r"^\{$.*?^\}$", demo_today, flags=re.DOTALL | re.MULTILINE)[0])
    assert (document["resourceType"], document["prediction"][0]["probabilityDecimal"]) == ("RiskAssessment", 4.924)
    for text in ("valid, 12 records", "6 times ACCESS", "modified: records 0 to 0", "NOT VALID", "gateway demo --serve"):
        assert text in demo_today
    assert "\x1b" not in demo_today, "colours only on a terminal"
