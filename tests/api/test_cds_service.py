"""The CDS Hooks service: discovery, every state in which a prefetch key can arrive, top-up, a stalled server, bodies of third parties."""

import json
import os
import time
import uuid
from pathlib import Path

import httpx
import pytest
from served_gateway import Fault, serving, settings_in

SERVICE = "/cds-services/patient-risk"
EXTENSION = "example.clinical-inference-gateway.assessment"
ROOT = Path(__file__).resolve().parents[2]
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
WARNING = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "warning", "code": "not-found", "details": {"coding": [{"code": "4101"}]}}],
}


@pytest.fixture
def prefetch(gateway, fhir_server):
    """Give a function that fills the templates of discovery from the FHIR server, as an EHR does."""
    _, base_url = fhir_server
    (service,) = gateway.http.get("/cds-services").json()["services"]

    def fill(patient: str, *left_out: str) -> dict:
        with httpx.Client(base_url=base_url, trust_env=False, timeout=30) as http:
            queries = {
                key: query.replace("{{context.patientId}}", patient) for key, query in service["prefetch"].items() if key not in left_out
            }
            return {key: http.get(f"/{query}" + ("" if key == "patient" else "&_count=1000")).json() for key, query in queries.items()}

    return fill


def hook(patient: str = "demo-complete", **fields: object) -> dict:
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"patientId": patient, "userId": "Practitioner/p1"},
        **fields,
    }


def call(gateway, request: dict, **headers: str) -> httpx.Response:
    return gateway.http.post(SERVICE, json=request, headers=headers)


def told(answer: httpx.Response) -> dict:
    """Return what the extension says about each model."""
    assert answer.status_code == 200, answer.text
    return {model["model"]: model for model in answer.json()["extension"][EXTENSION]["models"]}


def code_of(answer: httpx.Response) -> str:
    return answer.json()["issue"][0]["details"]["coding"][0]["code"]


# --- discovery --------------------------------------------------------------------------------------------------------------------


def test_discovery_names_the_service_and_its_prefetch(gateway):
    """One service with hook, id, title, description and a prefetch of plain searches (2.2: D1 to D6); no empty element anywhere."""
    answer = gateway.http.get("/cds-services")
    assert answer.headers["content-type"] == "application/json"
    (service,) = answer.json()["services"]
    assert {"hook", "id", "title", "description", "prefetch"} <= service.keys()
    assert (service["hook"], service["id"]) == ("patient-view", "patient-risk")
    assert service["prefetch"]["patient"] == "Patient/{{context.patientId}}"
    assert {"observations", "conditions", "medications", "encounters"} <= service["prefetch"].keys()
    assert all("patient={{context.patientId}}" in query for key, query in service["prefetch"].items() if key != "patient")
    assert not any(value in (None, "", [], {}) for value in service.values())


# --- a whole prefetch -------------------------------------------------------------------------------------------------------------


def test_a_whole_prefetch_is_answered_without_asking_anybody(gateway, fhir, prefetch):
    """Everything brought along: 200, nothing pulled, ACCESS and RESULT, and a low risk shows no card but says why."""
    request = hook(prefetch=prefetch("demo-complete"))
    fhir.seen.clear()
    answer = call(gateway, request, **{"x-request-id": "cds-whole"})
    assert told(answer)["prevent"]["reason"] == "below-threshold"
    assert told(answer)["prevent"]["verdict"] == "scored"
    assert answer.json()["cards"] == []
    assert fhir.seen == []
    assert gateway.types_of("cds-whole") == ["ACCESS", "RESULT"]


def test_a_risk_above_the_threshold_makes_a_card(gateway, prefetch):
    """A card has uuid, a summary under 140 characters, indicator, source with topic, and detail (2.6: C1 to C5)."""
    answer = call(gateway, hook("demo-si-units", prefetch=prefetch("demo-si-units")))
    (card,) = answer.json()["cards"]
    assert told(answer)["prevent"]["reason"] == "shown"
    assert uuid.UUID(card["uuid"])
    assert "14.3 %" in card["summary"]
    assert len(card["summary"]) < 140
    assert card["indicator"] == "warning"
    assert card["source"]["topic"]["code"] == "prevent"


def test_the_card_and_the_operation_agree(gateway, prefetch):
    """The same use case: the probability of the card is that of `$assess-risk`."""
    (card,) = call(gateway, hook("demo-si-units", prefetch=prefetch("demo-si-units"))).json()["cards"]
    bundle = gateway.assess("demo-si-units", {"name": "model", "valueString": "prevent"}).json()
    (risk,) = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "RiskAssessment"]
    assert f"{risk['prediction'][0]['probabilityDecimal']:.1f} %" in card["summary"]


@pytest.mark.parametrize("given", ["Patient/demo-complete", "demo-complete"])
def test_a_patient_id_with_its_type_is_tolerated(gateway, prefetch, given):
    """`Patient/x` in the context means x."""
    assert "prevent" in told(call(gateway, hook(given, prefetch=prefetch("demo-complete"))))


# --- the states of one key (2.4) --------------------------------------------------------------------------------------------------


def cut(bundle: dict) -> dict:
    return {**bundle, "link": [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]}


def only(*resources: dict, total: int | None = None) -> dict:
    entries = [
        {"resource": one, "search": {"mode": "outcome" if one["resourceType"] == "OperationOutcome" else "match"}} for one in resources
    ]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, **({} if total is None else {"total": total})}


# what came for `conditions` | how | verdict of the model | what the extension must name
STATES = (
    ("null: the client looked and nothing is there", lambda _: None, "scored", ""),
    ("an empty searchset", lambda _: {"resourceType": "Bundle", "type": "searchset", "total": 0}, "scored", ""),
    ("an empty searchset with a warning, as Epic sends it", lambda _: only(WARNING, total=0), "scored", ""),
    ("a Bundle without a type", lambda _: {"resourceType": "Bundle"}, "scored", ""),
    ("an OperationOutcome: the client tried and failed", lambda _: OUTCOME, "indeterminate", "NOT_FETCHED"),
    ("a searchset with an error in it", lambda _: only(OUTCOME), "indeterminate", "NOT_FETCHED"),
    ("a next link", cut, "indeterminate", "NOT_FETCHED"),
    ("a total above what came", lambda _: only(total=3), "indeterminate", "NOT_FETCHED"),
    ("a resource of another type", lambda _: {"resourceType": "Condition", "id": "c"}, "indeterminate", "NOT_FETCHED"),
    ("a list", lambda _: [], "indeterminate", "NOT_FETCHED"),
)


@pytest.mark.parametrize(("change", "verdict", "names"), [row[1:] for row in STATES], ids=[row[0] for row in STATES])
def test_each_state_of_a_key_means_what_it_means(gateway, prefetch, change, verdict, names):
    """Known empty lets "no diabetes" be concluded; failed or cut off never does, and then there is a card that says so."""
    filled = prefetch("demo-complete")
    filled["conditions"] = change(filled["conditions"])
    answer = call(gateway, hook(prefetch=filled))
    model = told(answer)["prevent"]
    assert model["verdict"] in ({"scored", "scored-degraded"} if verdict == "scored" else {verdict})
    if verdict == "indeterminate":
        assert any(reason.startswith(names) for reason in model["reasons"]), model["reasons"]
        (card,) = answer.json()["cards"]
        assert "no estimate" in card["summary"]
        assert card["indicator"] == "info"


@pytest.mark.parametrize("sent", ["{{context.patientId}}", "Condition?patient=%7B%7Bcontext.patientId%7D%7D"])
def test_an_echoed_template_is_an_absent_key(gateway, prefetch, sent):
    """A client that sends the template back has not looked: 412 names the key."""
    answer = call(gateway, hook(prefetch={**prefetch("demo-complete"), "conditions": sent}))
    assert (answer.status_code, code_of(answer)) == (412, "prefetch-missing")
    assert "conditions" in answer.text


# --- who is meant -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patient", "code"),
    [
        ({"resourceType": "Patient", "id": "somebody-else"}, "patient-mismatch"),
        ({"resourceType": "Patient"}, "patient-mismatch"),
        ({"resourceType": "Observation", "id": "demo-complete"}, "patient-mismatch"),
        ({"resourceType": "Bundle", "type": "searchset"}, "patient-mismatch"),
        (None, "prefetch-missing"),
        (OUTCOME, "prefetch-missing"),
    ],
    ids=["another id", "no id", "another type", "a Bundle", "null", "an OperationOutcome"],
)
def test_a_prefetched_patient_must_be_the_one_of_the_context(gateway, prefetch, patient, code):
    """Anything but the very Patient: 412, audited, no score."""
    answer = call(gateway, hook(prefetch={**prefetch("demo-complete"), "patient": patient}), **{"x-request-id": f"who-{uuid.uuid4()}"})
    assert (answer.status_code, code_of(answer)) == (412, code)
    assert gateway.types_of(answer.headers["x-request-id"])[-1] == "REFUSED"


def test_a_prefetched_value_of_another_patient_refuses_the_request(gateway, prefetch):
    """One Observation of somebody else among ours: the parts disagree on whom the answer is about."""
    filled = prefetch("demo-complete")
    filled["observations"]["entry"][0]["resource"]["subject"] = {"reference": "Patient/somebody-else"}
    answer = call(gateway, hook(prefetch=filled))
    assert (answer.status_code, code_of(answer)) == (412, "patient-mismatch")
    assert "somebody-else" not in answer.text


@pytest.mark.parametrize(
    ("given", "twice"),
    [
        ('"patientId": "demo-complete"', '"patientId": "somebody-else", "patientId": "demo-complete"'),
        ('"prefetch": {', '"prefetch": {"patient": {}, '),
        ('"prefetch": {', '"prefetch": {"conditions": {"resourceType": "Bundle"}, '),
        ('"resourceType": "Patient"', '"resourceType": "Patient", "id": "somebody-else"'),
    ],
    ids=["context", "key patient", "key conditions", "id of the Patient"],
)
def test_a_repeated_key_is_refused_where_identity_stands(gateway, prefetch, given, twice):
    """Two readers could take two different patients from it: 400."""
    body = json.dumps(hook(prefetch=prefetch("demo-complete"))).replace(given, twice, 1)
    answer = gateway.http.post(SERVICE, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (400, "malformed-json")


# --- what a request must have -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"hook": "order-sign"}, 400, "hook-mismatch"),
        ({"hook": None}, 400, "invalid-cds-request"),
        ({"hookInstance": 7}, 400, "invalid-cds-request"),
        ({"context": {}}, 400, "invalid-cds-request"),
        ({"context": {"patientId": "no id!"}}, 400, "invalid-patient-id"),
        ({"prefetch": []}, 400, "invalid-cds-request"),
        ({"fhirAuthorization": {"access_token": "Canary-4711"}}, 400, "invalid-cds-request"),
        ({}, 412, "prefetch-missing"),
        ({"fhirServer": "https://elsewhere.example/fhir"}, 412, "prefetch-missing"),
    ],
)
def test_what_a_request_must_have(gateway, fhir, change, status, code):
    """Malformed, another hook, authorization without a server: 400. Nothing to read from: 412. A foreign server is never asked."""
    answer = call(gateway, hook(**change))
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert "Canary" not in answer.text
    assert fhir.seen == []


def test_a_service_that_does_not_exist(gateway):
    """404 with its own code."""
    answer = gateway.http.post("/cds-services/other", json=hook())
    assert (answer.status_code, code_of(answer)) == (404, "unknown-cds-service")


def test_missing_keys_without_a_server_are_all_named(gateway, prefetch):
    """412 names every required key that did not come, and no other."""
    answer = call(gateway, hook(prefetch=prefetch("demo-complete", "encounters", "medications", "procedures")))
    assert answer.status_code == 412
    text = answer.json()["issue"][0]["details"]["text"]
    assert [key for key in ("patient", "observations", "conditions", "medications", "encounters", "procedures") if key in text] == [
        "medications",
        "encounters",
    ]


# --- top-up -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_missing_is_topped_up_from_the_configured_server(gateway, fhir, fhir_server, prefetch, slash):
    """Absent keys, our own server named: only what is missing is fetched, and the answer is that of the whole prefetch."""
    filled = prefetch("demo-complete", "conditions", "procedures")
    fhir.seen.clear()
    answer = call(gateway, hook(fhirServer=fhir_server[1] + slash, prefetch=filled))
    assert told(answer)["prevent"]["verdict"] == "scored"
    assert {"Observation", "Encounter", "MedicationRequest"}.isdisjoint(fhir.seen)
    assert "Condition" in fhir.seen


def test_without_any_prefetch_everything_is_fetched(gateway, fhir_server):
    """No prefetch at all, our own server named: the whole record is pulled."""
    assert told(call(gateway, hook(fhirServer=fhir_server[1])))["prevent"]["verdict"] == "scored"


def test_a_patient_our_server_does_not_know_is_a_failed_precondition(gateway, fhir_server):
    """412 that names the patient, not 404: the service exists; and the record of the refusal says the same."""
    answer = call(gateway, hook("nobody", fhirServer=fhir_server[1]), **{"x-request-id": "cds-nobody"})
    assert (answer.status_code, code_of(answer)) == (412, "prefetch-missing")
    assert "patient" in answer.json()["issue"][0]["details"]["text"]
    assert [(fields["type"], fields.get("http_status")) for fields in gateway.log_of("cds-nobody")] == [("ACCESS", None), ("REFUSED", 412)]


BUDGET_S = 0.5
OVERHEAD_S = 0.05


@pytest.mark.parametrize("stalls", [("Condition",), ("Patient", "Observation", "Condition", "MedicationRequest", "Encounter", "Procedure")])
def test_a_stalled_server_never_becomes_an_empty_list(gateway, fhir, fhir_server, prefetch, stalls, figure):
    """The Patient came along, the rest stalls for seconds: within the budget a card says what could not be fetched."""
    filled = prefetch("demo-complete", "conditions")
    call(gateway, hook(fhirServer=fhir_server[1], prefetch=filled))  # connections are open, code is warm
    fhir.faults.update({kind: Fault(delay_s=3.0) for kind in stalls})
    started = time.perf_counter()
    answer = call(gateway, hook(fhirServer=fhir_server[1], prefetch=filled))
    took_s = time.perf_counter() - started
    figure(f"CDS Hooks with a stalled FHIR server ({len(stalls)} types): answered in {took_s * 1000:.0f} ms")
    (card,) = answer.json()["cards"]
    assert "could not be fetched" in card["summary"]
    assert told(answer)["prevent"]["reason"] == "no-estimate"
    assert took_s <= BUDGET_S + OVERHEAD_S


def test_a_stalled_server_without_any_prefetch_is_told_within_the_budget(gateway, fhir, fhir_server):
    """Not even the Patient: 412 that names it, in time."""
    fhir.faults["Patient"] = Fault(delay_s=3.0)
    started = time.perf_counter()
    answer = call(gateway, hook(fhirServer=fhir_server[1]))
    assert time.perf_counter() - started <= BUDGET_S + OVERHEAD_S
    assert (answer.status_code, code_of(answer)) == (412, "prefetch-missing")


def test_rest_gives_up_in_time_as_well(fhir, fhir_server, tmp_path):
    """A Patient that does not come within the deadline is a 504."""
    fhir.faults["Patient"] = Fault(delay_s=3.0)
    with serving(settings_in(tmp_path, fhir_server[1], deadline_rest_s=0.4)) as served:
        answer = served.assess("demo-complete", **{"x-request-id": "late-1"})
        assert (answer.status_code, code_of(answer)) == (504, "patient-timeout")
        assert served.types_of("late-1") == ["ACCESS", "REFUSED"]


# --- bodies of third parties ------------------------------------------------------------------------------------------------------


def third_party_bodies() -> list[Path]:
    folder = Path(os.environ.get("GATEWAY_PATIENTS_DIR") or ROOT.parent / "shared" / "fhir") / "cdshooks"
    return sorted(path for path in folder.glob("*.json") if path.name != "index.json")


@pytest.mark.parametrize("as_patient_view", [False, True], ids=["as sent", "as patient-view"])
def test_bodies_of_third_parties_are_answered_as_their_shape_says(gateway, fhir, as_patient_view):
    """Other hooks: 400. The same bodies as patient-view: 412, their servers are not ours, and nobody was asked. Never a 500."""
    bodies = third_party_bodies()
    if not bodies:
        pytest.skip("no third-party CDS Hooks requests (GATEWAY_PATIENTS_DIR)")
    for path in bodies:
        request = json.loads(path.read_text(encoding="utf-8"))
        if as_patient_view:
            request["hook"] = "patient-view"
        answer = call(gateway, request)
        assert (path.name, answer.status_code, code_of(answer)) == (path.name, *expected(as_patient_view))
        assert "SAMPLE_TOKEN" not in answer.text
    assert fhir.seen == []


def expected(as_patient_view: bool) -> tuple[int, str]:  # noqa: FBT001 - the test's own parameter
    return (412, "prefetch-missing") if as_patient_view else (400, "hook-mismatch")
