"""Open Inference Protocol v2 over real HTTP: what is answered, what is refused, and what each leaves in the audit log."""

import csv
import json
import uuid
from pathlib import Path

import msgspec
import pytest

from gateway.audit import KeyFileKms, LogReader

CANARY = "Canary-4711"
CKD = "/v2/models/ckdepi2021/infer"


def ckd_inputs(gateway) -> dict[str, float]:
    """Return one good row under the tensor names of the metadata, in the order age, sex, creatinine."""
    names = [one["name"] for one in gateway.http.get("/v2/models/ckdepi2021").json()["inputs"]]
    known = {"age": 32.0, "creatinine": 0.69, "sex": 0.0}
    return {name: next(value for word, value in known.items() if word in name) for name in names}


def tensors(row: dict, **changed: object) -> dict:
    return {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [value], **changed} for name, value in row.items()]}


def test_a_row_gives_the_published_number_and_names_what_ran(gateway):
    """CKDEPI-002 of the vectors: 118.1796 within 0.0051; id echoed, version named, receipt of a RESULT without a patient."""
    body = {"id": "mine", **tensors(ckd_inputs(gateway))}
    answer = gateway.http.post(CKD, json=body, headers={"x-request-id": "v2-1"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["model_name"], found["model_version"], found["id"]) == ("ckdepi2021", "1.0.0", "mine")
    number, applicable = found["outputs"]
    assert number["data"] == [pytest.approx(118.1796, abs=0.0051)]
    assert (number["datatype"], number["shape"]) == ("FP64", [1])
    assert (applicable["name"], applicable["data"], applicable["shape"]) == ("applicable", [True], [1, 1])
    (record,) = gateway.log_of("v2-1")
    assert (record["type"], record["model_id"], record["purpose"]) == ("RESULT", "ckdepi2021@1.0.0", "TREAT")
    assert "patient_h" not in record


def test_the_record_holds_request_and_answer(gateway):
    """The encrypted payload holds the very bytes of both, so that the run can be made again."""
    body = tensors(ckd_inputs(gateway))
    answer = gateway.http.post(CKD, json=body)
    index = int(answer.headers["audit-receipt"].split("/")[1])
    with LogReader(Path(gateway.settings.audit.database), KeyFileKms(Path(gateway.settings.audit.key_file))) as reader:
        (record,) = reader.records(index, index + 1)
        payload = msgspec.json.decode(reader.open_payload(record))
    assert (payload["asked"], payload["body"]) == (body, answer.json())


def test_a_number_that_does_not_apply_is_left_out_or_refused(gateway):
    """A child: the equation does not hold. No number stands anywhere; asked for by name it is a 422."""
    row = {name: (5.0 if "age" in name else value) for name, value in ckd_inputs(gateway).items()}
    (only,) = gateway.http.post(CKD, json=tensors(row)).json()["outputs"]
    assert (only["name"], only["data"]) == ("applicable", [False])
    name = gateway.http.get("/v2/models/ckdepi2021").json()["outputs"][0]["name"]
    request_id = f"v2-{uuid.uuid4()}"
    refused = gateway.http.post(CKD, json={**tensors(row), "outputs": [{"name": name}]}, headers={"x-request-id": request_id})
    assert (refused.status_code, refused.json()["code"]) == (422, "output-not-applicable")
    assert gateway.types_of(request_id) == ["REFUSED"]


def test_every_vector_of_a_release_passes_over_http(gateway):
    """All numeric vectors of CKD-EPI 2021 through /v2, within their own tolerances, in batches."""
    folder = Path(__file__).parents[2] / "models" / "ckdepi2021" / "1.0.0"
    with (folder / "vectors.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["creatinine_unit"] == "mg/dL" and row["expected_egfr_ml_min_1_73m2"]]
    assert len(rows) > 10
    for start in range(0, len(rows), 64):
        batch = rows[start : start + 64]
        columns = {"age": "age_years", "creatinine": "creatinine", "sex": "sex"}
        inputs = []
        for name in ckd_inputs(gateway):
            column = next(column for word, column in columns.items() if word in name)
            data = [float({"female": 0, "male": 1}.get(row[column], row[column])) for row in batch]
            inputs.append({"name": name, "shape": [len(batch)], "datatype": "FP64", "data": data})
        number = gateway.http.post(CKD, json={"inputs": inputs}).json()["outputs"][0]
        for value, row in zip(number["data"], batch, strict=True):
            assert value == pytest.approx(float(row["expected_egfr_ml_min_1_73m2"]), abs=float(row["tolerance_abs"])), row["case_id"]


BAD = {
    "null": lambda body: body["inputs"][0].update(data=[None]),
    "text": lambda body: body["inputs"][0].update(data=[CANARY]),
    "a truth value": lambda body: body["inputs"][0].update(data=[True]),
    "too few numbers": lambda body: body["inputs"][0].update(data=[]),
    "too many numbers": lambda body: body["inputs"][0].update(data=[1.0, 2.0]),
    "another shape": lambda body: body["inputs"][0].update(shape=[1, 1]),
    "no rows": lambda body: [one.update(shape=[0], data=[]) for one in body["inputs"]],
    "another datatype": lambda body: body["inputs"][0].update(datatype="FP32"),
    "an unknown input": lambda body: body["inputs"][0].update(name=CANARY),
    "an input twice": lambda body: body["inputs"].append(body["inputs"][0]),
    "a missing input": lambda body: body["inputs"].pop(),
    "no inputs": lambda body: body.pop("inputs"),
    "an unknown output": lambda body: body.update(outputs=[{"name": CANARY}]),
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_not_as_declared_is_refused_and_recorded(gateway, wrong):
    """400 with our code, the protocol's error member, no echo of the input, one REFUSED."""
    body = tensors(ckd_inputs(gateway))
    BAD[wrong](body)
    request_id = f"v2-{uuid.uuid4()}"
    answer = gateway.http.post(CKD, json=body, headers={"x-request-id": request_id})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-tensor"), answer.text
    assert answer.json().keys() == {"error", "code"}
    assert CANARY not in answer.text
    assert gateway.types_of(request_id) == ["REFUSED"]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(gateway, literal):
    """What some JSON writers make of a missing value never reaches a graph, where NaN means absent."""
    raw = json.dumps(tensors(ckd_inputs(gateway))).replace("0.69", literal)
    assert literal in raw
    answer = gateway.http.post(CKD, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


def test_too_many_rows_are_refused(gateway):
    """One row more than `server.infer_rows_max`."""
    rows = gateway.settings.server.infer_rows_max + 1
    body = {"inputs": [{"name": n, "shape": [rows], "datatype": "FP64", "data": [v] * rows} for n, v in ckd_inputs(gateway).items()]}
    assert gateway.http.post(CKD, json=body).status_code == 413


@pytest.mark.parametrize("path", ["/v2/models/nosuch/infer", "/v2/models/ckdepi2021/versions/9.9.9/infer"])
def test_an_unknown_model_or_version_is_not_found(gateway, path):
    """404 in the protocol's form, for infer and for the metadata."""
    answer = gateway.http.post(path, json={"inputs": []})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-model")
    described = gateway.http.get(path.removesuffix("/infer"))
    assert (described.status_code, described.json()["code"]) == (404, "unknown-model")


def test_metadata_names_platform_version_and_units(gateway):
    """Metadata of a model, with and without its version, are the same."""
    found = gateway.http.get("/v2/models/prevent/versions/1.0.0").json()
    assert found == gateway.http.get("/v2/models/prevent").json()
    assert (found["platform"], found["versions"]) == ("onnx_onnxv1", ["1.0.0"])
    assert all(one["datatype"] == "FP64" and one["parameters"]["unit"] for one in found["inputs"])


def test_optional_inputs_choose_the_variant_and_a_range_withholds(gateway):
    """PREVENT without and with HbA1c; a BMI outside its range takes away the outputs that need it, never the truth about it."""
    described = gateway.http.get("/v2/models/prevent").json()["inputs"]
    limits = {"age": 50, "total_chol": 200, "hdl": 50, "sbp": 120, "bmi": 27, "egfr": 90}
    row = {
        one["name"]: float(next((value for word, value in limits.items() if one["name"].startswith(word)), 0))
        for one in described
        if not one["parameters"]["optional"]
    }
    base = gateway.http.post("/v2/models/prevent/infer", json=tensors(row)).json()
    assert base["parameters"]["variant"] == "base"
    hba1c = gateway.http.post("/v2/models/prevent/versions/1.0.0/infer", json=tensors({**row, "hba1c_pct": 5.5})).json()
    assert hba1c["parameters"]["variant"] == "hba1c"
    assert len(hba1c["outputs"]) > 1
    fat = gateway.http.post("/v2/models/prevent/infer", json=tensors({**row, "bmi_kg_m2": 60.0})).json()
    assert len(fat["outputs"]) < len(base["outputs"])
    wide = gateway.http.post("/v2/models/prevent/infer", json=tensors({**row, "hba1c_pct": 99.0})).json()
    assert [one["name"] for one in wide["outputs"]] == ["applicable"]
