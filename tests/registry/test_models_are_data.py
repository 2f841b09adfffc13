"""Models are declared, not coded: one that nobody has heard of is a folder, and answers."""

import json

import numpy as np
import pytest
from release_keys import KEY
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.registry.folder import vouch_for
from gateway.registry.lint import CARD_TEMPLATE
from models.builders.graph import BOOL, DOUBLE, GraphUnderConstruction

MANIFEST = """\
schema_version = 1
name = "gout"
version = "0.1.0"
title = "Gout flare index"
publisher = "A ward"
citation = "None: made up for a test"
doi = ""
licence = "none"
intended_use = "None: made up for a test."
limitations = []
dsi_class = "predictive"
result = "risk"
result_tensor = "risk"
applicable_tensor = "applicable"

[eligibility]
age_years = { low = 18, high = 130 }
uses_sex = false

[[eligibility.exclusions]]
name = "no_gout"
reason = "NOT_ELIGIBLE_CONDITION"
when = "absent"
[eligibility.exclusions.feature]
operator = "condition"
group = "gout"
scope = "ever"

[[inputs]]
name = "age"
tensor = "age_years"
concept = "age"
unit = "a"
[inputs.feature]
operator = "age"

[[inputs]]
name = "urate"
tensor = "urate_mg_dl"
concept = "urate"
unit = "mg/dL"
[inputs.feature]
operator = "newest"
concept = "urate"

[[outputs]]
name = "flare"
index = 0
label = "flare"
vector_column = "expected_flare"
title = "Flare"
outcome_text = "Another flare within a year"
needs = ["age", "urate"]
horizon_years = 1
valid_range = { low = 0.0, high = 1.0 }
headline = true
"""
CODES = (
    "concept,fhir_element,system,code,display,preferred_unit_ucum,convertible_units_and_factor,plausible_min,plausible_max,"
    "staleness_ed,staleness_inpatient,staleness_ambulatory\n"
    "gout,Condition.code / Procedure.code,http://snomed.info/sct,90560007,Gout,,,,,ever,ever,ever\n"
    "urate,Observation,http://loinc.org,3084-1,Urate,mg/dL,mmol/L:16.81,0.5,40,48 h,48 h,365 d\n"
)
VECTORS = "case_id,age_years,urate_mg_dl,expected_flare,tolerance_abs\na,60,8,0.6,1e-12\nb,60,,,0\n"


def graph_bytes() -> bytes:
    """Return a graph: age / 200 + urate / 26.666..., kept below 1."""
    graph = GraphUnderConstruction("gout")

    def number(name: str, value: float) -> str:
        return graph.constant(name, np.array(value, dtype=np.float64))

    by_age = graph.node("Div", ["age_years", number("two_hundred", 200.0)], "by_age")
    by_urate = graph.node("Mul", ["urate_mg_dl", number("per_mg_dl", 0.0375)], "by_urate")
    total = graph.node("Min", [graph.node("Add", [by_age, by_urate], "total"), number("one", 1.0)], "kept")
    graph.node("Reshape", [total, graph.constant("one_column", np.array([-1, 1]))], "risk")
    graph.node("Not", [graph.node("IsNaN", ["risk"], "withheld")], "applicable")
    return graph.serialise({"age_years": DOUBLE, "urate_mg_dl": DOUBLE}, {"risk": (DOUBLE, 1), "applicable": (BOOL, 1)}, "made up")


@pytest.fixture
def with_ninth(tmp_path):
    """Return a configuration that serves a folder with one model of nobody's, signed by a key of nobody's."""
    folder = tmp_path / "models" / "gout" / "0.1.0"
    folder.mkdir(parents=True)
    card = CARD_TEMPLATE.read_bytes().replace(b"What it tells, about whom, for whom.", b"None: made up for a test.")
    files = {
        "card.toml": card,
        "manifest.toml": MANIFEST.encode(),
        "codes.csv": CODES.encode(),
        "vectors.csv": VECTORS.encode(),
        "model.onnx": graph_bytes(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    vouch_for(folder, KEY)
    config = tmp_path / "gateway.toml"
    config.write_text(
        'profile = "development"\n'
        f'[audit]\ndatabase = "{tmp_path}/audit.db"\nkey_file = "{tmp_path}/kek.json"\n[logging]\nlevel = "error"\n'
        f'[models]\nfolder = "{tmp_path}/models"\ntrusted_keys = ["{KEY.public_key().public_bytes_raw().hex()}"]\n'
    )
    return config


def test_a_model_that_nobody_has_heard_of_is_a_folder(with_ninth, tmp_path):
    """Its codes, its graph, its manifest, its vectors, its signature: checked, and it answers about a record."""
    subject = {"reference": "Patient/g"}
    gout = {"resourceType": "Condition", "id": "c", "subject": subject, "recordedDate": "2020-01-01"}
    urate = {"resourceType": "Observation", "id": "o", "status": "final", "subject": subject, "effectiveDateTime": "2026-01-05"}
    entries = [
        {"resourceType": "Patient", "id": "g", "gender": "male", "birthDate": "1965-06-01"},
        gout | {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "90560007"}]}},
        urate | {"code": {"coding": [{"system": "http://loinc.org", "code": "3084-1"}]}}
        | {"valueQuantity": {"value": 0.48, "system": "http://unitsofmeasure.org", "code": "mmol/L"}},
    ]  # fmt: skip
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]}))
    runner = CliRunner()
    checked = runner.invoke(app, ["models", "check", "gout", "--config", str(with_ninth)])
    assert checked.output.splitlines()[-1] == "2 of 2 rows within tolerance"
    arguments = ["assess", str(record), "--as-of", "2026-01-06T00:00:00Z", "--record-complete", "--json", "--config", str(with_ninth)]
    told = runner.invoke(app, arguments)
    assert told.exit_code == 0, told.output
    (answer,) = [one["resource"] for one in json.loads(told.stdout)["entry"] if one["resource"]["resourceType"] == "RiskAssessment"]
    assert answer["prediction"][0]["probabilityDecimal"] == pytest.approx(100 * (60 / 200 + 0.0375 * 0.48 * 16.81), abs=1e-3)
