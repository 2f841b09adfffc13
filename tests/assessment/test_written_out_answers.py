"""Ten answers about third-party patients, each number written out beside its raw resource and checked by an independent script."""

import json
import subprocess
import sys
from pathlib import Path

RECHECK = Path(__file__).with_name("recheck.py")
ANSWERS = 10
MODELS_MIN = 5
PER_MODEL = 3
WITH_NUMBER_MIN = 6


def written_out(entry, answer, as_of):
    """Return one model's answer as plain data: what a reader needs to check it by eye."""
    inputs = {}
    for spec in answer.manifest.inputs:
        found = answer.report.inputs[spec.name]
        if not found.usable:
            inputs[spec.name] = {
                "tensor": spec.tensor,
                "concept": spec.concept,
                "value": None,
                "unit": spec.unit,
                "state": found.state.value,
            }
            inputs[spec.name]["evidence"] = []
            continue
        inputs[spec.name] = {
            "tensor": spec.tensor,
            "concept": found.concept,
            "value": found.value,
            "unit": found.unit,
            "state": found.state.value,
            "evidence": [
                {
                    "resource": f"{evidence.source.resource_type}/{evidence.source.id}",
                    "raw_value": evidence.raw_value,
                    "raw_unit": evidence.raw_unit,
                }
                for evidence in found.evidence
            ],
        }
        if found.lineage:
            inputs[spec.name]["lineage"] = dict(found.lineage)
    return {
        "model": answer.manifest.name,
        "file": entry["file"],
        "line": entry["line"],
        "as_of": as_of.isoformat(),
        "outputs": {prediction.output: prediction.value for prediction in answer.predictions},
        "inputs": inputs,
    }


def chosen(patients, answer_of):
    """Yield up to three answers with a number per model, one patient each, and every model has its turn."""
    taken = {}
    for entry, raw in patients:
        whole = answer_of(entry, raw)
        for answer in whole.answers:
            name = answer.manifest.name
            if answer.predictions and taken.setdefault(name, 0) < PER_MODEL:
                taken[name] += 1
                yield written_out(entry, answer, whole.as_of)
                break


def test_ten_answers_agree_with_the_raw_records(patients, patients_folder, answer_of, tmp_path, figure):
    """An independent script finds every number in the resource it is said to come from, and computes the same answers."""
    answers = list(chosen(patients, answer_of))
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))
    told = subprocess.run(
        [sys.executable, str(RECHECK), str(file), str(patients_folder)], capture_output=True, text=True, check=False, timeout=100
    )
    for line in told.stdout.splitlines():
        figure(line)
    assert told.returncode == 0, told.stdout + told.stderr
    assert len(answers) >= ANSWERS
    assert len({answer["model"] for answer in answers}) >= MODELS_MIN


def test_the_script_finds_a_wrong_number(patients, patients_folder, answer_of, tmp_path):
    """An answer, or an input, that is a little off is told."""
    answer = next(answer for answer in chosen(patients, answer_of) if answer["model"] == "ckdepi2021")
    (output, value), *_ = answer["outputs"].items()
    measured = next(name for name, given in answer["inputs"].items() if name not in {"age", "sex"} and given["value"])
    altered = [
        {**answer, "outputs": {output: value * 1.001}},
        {
            **answer,
            "inputs": {**answer["inputs"], measured: {**answer["inputs"][measured], "value": answer["inputs"][measured]["value"] * 1.001}},
        },
    ]
    for place, wrong in enumerate(altered):
        file = tmp_path / f"{place}.jsonl"
        file.write_text(json.dumps(wrong))
        told = subprocess.run(
            [sys.executable, str(RECHECK), str(file), str(patients_folder)], capture_output=True, text=True, check=False, timeout=100
        )
        assert told.returncode == 1
        assert "WRONG" in told.stdout
