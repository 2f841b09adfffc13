"""What tests read out of answers that are scores."""

import json


def risk_answers(run, path, model, as_of):
    """Return the RiskAssessments of one model about a record that is declared complete: its own, then those of scores that stand in."""
    told = run("assess", path, "--model", model, "--as-of", as_of, "--record-complete", "--json")
    assert told.exit_code == 0, told.output
    resources = [entry["resource"] for entry in json.loads(told.stdout)["entry"]]
    return [resource for resource in resources if resource["resourceType"] == "RiskAssessment"]


def number_of(answer):
    """Return the score in the answer's only prediction, None where there is none."""
    told = answer["prediction"][0].get("extension", [])
    return next((extension[kind] for extension in told for kind in ("valueDecimal", "valueInteger") if kind in extension), None)
