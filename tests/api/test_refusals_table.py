"""Every way in which `$assess-risk` says no: status, stable code, an OperationOutcome that echoes nothing, and its audit record."""

import json
import sqlite3
import uuid

import pytest
from served_gateway import FHIR_JSON, Fault, parameters_of

CANARY = "Canary-4711"  # stands for whatever a caller sent; no error may repeat it
PATIENT = "/fhir/Patient/demo-complete/$assess-risk"
SYSTEM = "/fhir/$assess-risk"
EMPTY = json.dumps(parameters_of()).encode()


def body(*parameters: dict) -> bytes:
    return json.dumps(parameters_of(*parameters)).encode()


def record_of(*resources: dict) -> dict:
    return {
        "name": "record",
        "resource": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]},
    }


PERSON = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1970-01-01"}

# what is wrong | path | body | headers | status | code | audit record types
TABLE = (
    ("not JSON", PATIENT, b'{"resourceType": "Parameters", ' + CANARY.encode(), {}, 400, "malformed-json", ["REFUSED"]),
    ("not UTF-8", PATIENT, b'{"resourceType": "\xff\xfe"}', {}, 400, "malformed-json", ["REFUSED"]),
    ("another resource", PATIENT, b'{"resourceType":"Patient","id":"Canary-4711"}', {}, 400, "malformed-parameters", ["REFUSED"]),
    ("a list", PATIENT, b"[]", {}, 400, "malformed-parameters", ["REFUSED"]),
    ("a parameter without a name", PATIENT, body({"valueString": CANARY}), {}, 400, "malformed-parameters", ["REFUSED"]),
    ("an unknown parameter", PATIENT, body({"name": CANARY, "valueString": "x"}), {}, 400, "unknown-parameter", ["REFUSED"]),
    ("a parameter in the address", PATIENT + "?asOf=2020-01-01", EMPTY, {}, 400, "unknown-parameter", ["REFUSED"]),
    ("a parameter twice", PATIENT, body(*[{"name": "setting", "valueCode": "ed"}] * 2), {}, 400, "malformed-parameters", ["REFUSED"]),
    ("a key twice", PATIENT, b'{"resourceType":"Parameters","parameter":[],"parameter":[]}', {}, 400, "malformed-json", ["REFUSED"]),
    (
        "two patients under one key",
        SYSTEM,
        b'{"resourceType":"Parameters","parameter":[{"name":"patient","valueId":"Canary-4711","valueId":"demo-complete"}]}',
        {},
        400,
        "malformed-json",
        ["REFUSED"],
    ),
    (
        "two records under one key",
        SYSTEM,
        body(record_of(PERSON)).replace(b'"resource": {"resourceType": "Bundle"', b'"resource": {}, "resource": {"resourceType": "Bundle"'),
        {},
        400,
        "malformed-json",
        ["REFUSED"],
    ),
    ("no body type", PATIENT, EMPTY, {"content-type": "text/plain"}, 415, "unsupported-media-type", ["REFUSED"]),
    ("XML", PATIENT, b"<Parameters/>", {"content-type": "application/fhir+xml"}, 415, "unsupported-media-type", ["REFUSED"]),
    ("an answer in XML", PATIENT, EMPTY, {"accept": "application/fhir+xml"}, 406, "not-acceptable", ["REFUSED"]),
    ("too large", PATIENT, b" " * 2_000_001, {}, 413, "body-too-large", ["REFUSED"]),
    ("too deep", PATIENT, b'{"a":' * 80 + b"1" + b"}" * 80, {}, 413, "body-too-deep", ["REFUSED"]),
    ("asOf is no time", PATIENT, body({"name": "asOf", "valueDateTime": CANARY}), {}, 400, "invalid-as-of", ["REFUSED"]),
    ("asOf without a zone", PATIENT, body({"name": "asOf", "valueDateTime": "2024-01-01T00:00:00"}), {}, 400, "invalid-as-of", ["REFUSED"]),
    ("asOf is a month", PATIENT, body({"name": "asOf", "valueDate": "2024-01"}), {}, 400, "invalid-as-of", ["REFUSED"]),
    ("asOf is a week", PATIENT, body({"name": "asOf", "valueDate": "2024-W01-1"}), {}, 400, "invalid-as-of", ["REFUSED"]),
    ("asOf does not exist", PATIENT, body({"name": "asOf", "valueDate": "2023-02-29"}), {}, 400, "invalid-as-of", ["REFUSED"]),
    (
        "asOf in the year 1",
        PATIENT,
        body({"name": "asOf", "valueDateTime": "0001-01-01T00:00:00+14:00"}),
        {},
        400,
        "invalid-as-of",
        ["REFUSED"],
    ),
    ("asOf in the year 9999", PATIENT, body({"name": "asOf", "valueDate": "9999-12-31"}), {}, 400, "invalid-as-of", ["REFUSED"]),
    ("a setting of its own", PATIENT, body({"name": "setting", "valueCode": CANARY}), {}, 400, "invalid-setting", ["REFUSED"]),
    ("an unknown model", PATIENT, body({"name": "model", "valueString": "nosuchmodel"}), {}, 400, "unknown-model", ["ACCESS", "REFUSED"]),
    ("a model that cannot be one", PATIENT, body({"name": "model", "valueString": "../x"}), {}, 400, "unknown-model", ["REFUSED"]),
    ("an id that is none", "/fhir/Patient/a_b!/$assess-risk", EMPTY, {}, 400, "invalid-patient-id", ["REFUSED"]),
    ("an id too long", f"/fhir/Patient/{'x' * 65}/$assess-risk", EMPTY, {}, 400, "invalid-patient-id", ["REFUSED"]),
    (
        "another patient in the body",
        PATIENT,
        body({"name": "patient", "valueId": "demo-si-units"}),
        {},
        400,
        "patient-mismatch",
        ["REFUSED"],
    ),
    ("nobody", SYSTEM, EMPTY, {}, 400, "malformed-parameters", ["REFUSED"]),
    ("a record that is no Bundle", SYSTEM, body({"name": "record", "resource": PERSON}), {}, 400, "invalid-record", ["REFUSED"]),
    ("a record without its resource", SYSTEM, body({"name": "record"}), {}, 400, "malformed-parameters", ["REFUSED"]),
    ("a record of nobody", SYSTEM, body(record_of()), {}, 400, "invalid-record", ["REFUSED"]),
    ("a record of two", SYSTEM, body(record_of(PERSON, {**PERSON, "id": "p2"})), {}, 400, "invalid-record", ["REFUSED"]),
    ("a record of another", PATIENT, body(record_of(PERSON)), {}, 400, "invalid-record", ["REFUSED"]),
    ("a patient nobody knows", "/fhir/Patient/nobody/$assess-risk", EMPTY, {}, 404, "patient-not-found", ["ACCESS", "REFUSED"]),
)


@pytest.mark.parametrize(
    ("path", "sent", "headers", "status", "code", "records"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_what_is_wrong_is_said_without_repeating_it(gateway, path, sent, headers, status, code, records):
    """Status and stable code as in the table; an OperationOutcome; the request id comes back; exactly these audit records."""
    request_id = f"r-{uuid.uuid4()}"
    answer = gateway.http.post(path, content=sent, headers={**FHIR_JSON, "x-request-id": request_id, **headers})
    assert (answer.status_code, code_of(answer)) == (status, code)
    check_discreet(answer)
    assert answer.headers["x-request-id"] == request_id
    assert gateway.types_of(request_id) == records
    assert gateway.log_of(request_id)[-1]["http_status"] == status


def code_of(answer) -> str:
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    return outcome["issue"][0]["details"]["coding"][0]["code"]


def check_discreet(answer) -> None:
    """An error repeats nothing that was sent, shows no trace, may not be kept, and is FHIR."""
    assert CANARY not in answer.text
    assert "Traceback" not in answer.text
    assert "audit-receipt" not in answer.headers
    assert answer.headers["content-type"].startswith("application/fhir+json")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault(status=404), 404, "patient-not-found"),
        (Fault(status=410), 404, "patient-not-found"),
        (Fault(status=403), 403, "patient-forbidden"),
        (Fault(status=401), 403, "patient-forbidden"),
        (Fault(status=500), 502, "patient-not-fetched"),
        (Fault(status=302), 502, "patient-not-fetched"),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_a_patient_who_cannot_be_had_is_an_error(gateway, fhir, fault, status, code):
    """Only the Patient fails the request: 404, 403 or 502, each with its own code; what the server said is not passed on."""
    fhir.faults["Patient"] = fault
    answer = gateway.assess("demo-complete", **{"x-request-id": f"p-{uuid.uuid4()}"})
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert gateway.types_of(answer.headers["x-request-id"]) == ["ACCESS", "REFUSED"]


def test_any_other_group_that_fails_is_an_answer_that_says_so(gateway, fhir):
    """Conditions that could not be fetched: 200, no number, and a reason that names it; nothing is taken for absent."""
    fhir.faults["Condition"] = Fault(status=500)
    answer = gateway.assess("demo-complete", {"name": "model", "valueString": "prevent"})
    assert answer.status_code == 200
    (risk,) = [entry["resource"] for entry in answer.json()["entry"] if entry["resource"]["resourceType"] == "RiskAssessment"]
    assert risk["status"] == "cancelled"
    assert not any("probabilityDecimal" in prediction for prediction in risk["prediction"])
    assert "could not be fetched" in json.dumps(risk)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/fhir/Patient/demo-complete", 404, "unknown-route"),
        ("GET", f"/{CANARY}", 404, "unknown-route"),
        ("POST", "/fhir/Patient/demo-complete/$everything", 404, "unknown-route"),
        ("GET", PATIENT, 405, "method-not-allowed"),
        ("DELETE", "/cds-services", 405, "method-not-allowed"),
        ("POST", "/cds-services/", 404, "unknown-route"),
    ],
)
def test_an_address_or_method_that_does_not_exist(gateway, method, path, status, code):
    """The framework's own errors have our form, code and request id, and redirect nowhere."""
    answer = gateway.http.request(method, path, headers={"x-request-id": "r-77"}, follow_redirects=False)
    assert (answer.status_code, code_of(answer)) == (status, code)
    check_discreet(answer)
    assert answer.headers["x-request-id"] == "r-77"
    assert ("allow" in answer.headers) == (status == 405)


def test_metadata_in_xml_is_not_to_be_had(gateway):
    """Routes without patient data refuse XML as well; the metrics are text."""
    answer = gateway.http.get("/fhir/metadata", headers={"accept": "application/fhir+xml"})
    assert (answer.status_code, code_of(answer)) == (406, "not-acceptable")
    assert gateway.http.get("/metrics", headers={"accept": "text/plain"}).status_code == 200


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/fhir+json; fhirVersion=4.0", "text/html, application/*;q=0.8", ""]
)
def test_a_caller_who_takes_json_gets_it(gateway, accept):
    """Whatever else stands in Accept, JSON among it is enough."""
    assert gateway.http.get("/fhir/metadata", headers={"accept": accept}).status_code == 200


@pytest.mark.parametrize("given", ["with space", "a" * 65, "ünsafe".encode("latin-1"), "x;y"])
def test_a_request_id_that_is_not_safe_to_log_is_replaced(gateway, given):
    """Our own id takes its place."""
    answer = gateway.http.get("/health/live", headers={"x-request-id": given})
    assert uuid.UUID(answer.headers["x-request-id"])


def test_nothing_is_read_or_answered_while_the_audit_log_cannot_write(gateway, fhir):
    """Somebody holds the database: 503 within the time, before the FHIR server hears a word; afterwards all is well again."""
    holder = sqlite3.connect(gateway.settings.audit.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        answer = gateway.assess("demo-complete")
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert (answer.status_code, code_of(answer)) == (503, "audit-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert fhir.seen == []
    check_discreet(answer)
    assert gateway.assess("demo-complete").status_code == 200
