"""A model that a hospital brings, through the whole gateway: by `/v2` and about a record, on whichever device there is."""

import json
from pathlib import Path

import pytest
from brought_release import NAME, probability, record, write_config, write_release
from served_gateway import serving
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.config import load_settings

SIMULATED = Path(__file__).parents[1] / "inference" / "simulated_gpu"
ROW = (60.0, 1.2, 90.0)
NUMBER = probability(*ROW)


@pytest.fixture
def served(tmp_path):
    """Return a client of a gateway that serves the brought release."""
    write_release(tmp_path / "models")
    with serving(load_settings(write_config(tmp_path), {})) as gateway:
        yield gateway.http


def infer(client, **tensor):
    """Ask for the row, with some of the tensor changed."""
    asked = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": list(ROW)} | tensor
    return client.post(f"/v2/models/{NAME}/infer", json={"inputs": [asked]})


def test_a_packed_graph_is_asked_with_its_own_tensor(served):
    """Flat or nested, in its element type or float64; the metadata says which columns these are."""
    (told,) = served.get(f"/v2/models/{NAME}").json()["inputs"]
    assert (told["name"], told["datatype"], told["shape"]) == ("X", "FP32", [-1, 3])
    assert [column["name"] for column in told["parameters"]["columns"]] == ["age_years", "creatinine_mg_dl", "heart_rate_per_min"]
    assert served.get(f"/v2/models/{NAME}/ready").json() == {"name": NAME, "ready": True}
    for changed in ({}, {"data": [list(ROW)]}, {"datatype": "FP64"}):
        answer = infer(served, **changed)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == [pytest.approx(NUMBER, abs=1e-6)]
        assert answer.headers["audit-receipt"]
    two = infer(served, shape=[2, 3], data=[*ROW, *ROW]).json()
    assert two["outputs"][0]["data"] == [pytest.approx(NUMBER, abs=1e-6)] * 2


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "x"},
        {"shape": [1, 4], "data": [*ROW, 1.0]},
        {"shape": [3]},
        {"shape": [2, 3]},
        {"shape": [0, 3], "data": []},
        {"datatype": "INT64"},
        {"data": [60.0, 1.2, None]},
        {"data": [60.0, 1.2]},
        {"data": [[60.0, 1.2], [90.0]]},
        {"data": [list(ROW), 1.0]},
        {"data": ["60", 1.2, 90.0]},
    ],
    ids=str,
)
def test_another_tensor_is_refused(served, changed):
    """Null, another name, shape, datatype, or numbers that do not fill the shape."""
    assert infer(served, **changed).status_code == 400


def assess(tmp_path, heart_rate=90.0, **models):
    """Assess the record on the command line and return the RiskAssessment."""
    write_release(tmp_path / "models")
    (tmp_path / "record.json").write_text(json.dumps(record(heart_rate)))
    config = write_config(tmp_path, **models)
    command = [
        "assess",
        str(tmp_path / "record.json"),
        "--as-of",
        "2026-01-06T00:00:00Z",
        "--record-complete",
        "--json",
        "--setting",
        "inpatient",
    ]
    told = CliRunner().invoke(app, [*command, "--config", str(config)])
    assert told.exit_code == 0, told.output
    (answer,) = [one["resource"] for one in json.loads(told.stdout)["entry"] if one["resource"]["resourceType"] == "RiskAssessment"]
    return answer


def rung_of(answer):
    """Return the rung that the answer names, and all its words."""
    (rung,) = [each["valueCode"] for each in answer["extension"] if each["url"].endswith("/rung")]
    return rung, json.dumps(answer)


def test_it_answers_about_a_record(tmp_path):
    """From the Observations to the probability, over a worker."""
    answer = assess(tmp_path)
    assert answer["prediction"][0]["probabilityDecimal"] == pytest.approx(100 * NUMBER, abs=1e-3)
    assert rung_of(answer)[0] == "cpu"


def test_a_missing_input_is_never_run(tmp_path):
    """A tree or a net would give a confident number for it; there is none, and the answer says what is missing."""
    answer = assess(tmp_path, heart_rate=None)
    assert "probabilityDecimal" not in answer["prediction"][0]
    assert "MISSING_INPUT:heart_rate" in json.dumps(answer)


@pytest.mark.parametrize(
    ("state", "device", "rung", "reason"),
    [
        ("good", "gpu", "gpu", ""),
        ("wrong", "gpu", "cpu", "GPU: the self-test gave other numbers than the CPU at load"),
        ("wrong", "gpu-only", "none", "GPU: the self-test gave other numbers than the CPU at load"),
        ("", "gpu", "cpu", "GPU: the device refused the graph"),
        ("", "gpu-only", "none", "GPU: the device refused the graph"),
    ],
)
def test_the_answer_names_the_device_and_why_not_a_better_one(tmp_path, monkeypatch, state, device, rung, reason):
    """A simulated GPU that agrees, one that does not, and none at all; with the CPU below it or nothing."""
    if state:
        monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
        monkeypatch.setenv("SIMULATED_GPU", state)
    answer = assess(tmp_path, device=f'"{device}"')
    found, words = rung_of(answer)
    assert found == rung
    assert reason in words
    assert ("probabilityDecimal" in answer["prediction"][0]) is (rung != "none")
