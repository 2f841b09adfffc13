"""What the gateway's FHIR edge can do, in FHIR's own words: CapabilityStatement and OperationDefinition."""

from gateway.results.extension import BASE

OPERATION_URL = f"{BASE}/OperationDefinition/assess-risk"
FHIR_VERSION = "4.0.1"


def capability_statement(date: str, version: str, base_url: str) -> dict[str, object]:
    """Return the CapabilityStatement; `date` is a FHIR date, `base_url` the gateway's own FHIR base or ""."""
    operation = {"name": "assess-risk", "definition": OPERATION_URL}
    implementation: dict[str, object] = {"description": "Clinical inference gateway"}
    if base_url:
        implementation["url"] = base_url
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": "Clinical inference gateway", "version": version},
        "implementation": implementation,
        "fhirVersion": FHIR_VERSION,
        "format": ["application/fhir+json", "json"],
        "rest": [{"mode": "server", "resource": [{"type": "Patient", "operation": [operation]}], "operation": [operation]}],
    }


def operation_definition(date: str) -> dict[str, object]:
    """Return the OperationDefinition of `$assess-risk`; its one out parameter is the body itself."""
    return {
        "resourceType": "OperationDefinition",
        "id": "assess-risk",
        "url": OPERATION_URL,
        "name": "AssessRisk",
        "title": "Assess risk",
        "status": "active",
        "kind": "operation",
        "date": date,
        "description": "Judges a patient's record, runs the released risk models and answers one RiskAssessment per model, "
        "with every input it rests on, or says why there is no number.",
        "affectsState": False,
        "code": "assess-risk",
        "resource": ["Patient"],
        "system": True,
        "type": False,
        "instance": True,
        "parameter": [
            _parameter("model", "string", 0, "*", "Name of a model; without one all released models."),
            _parameter("asOf", "dateTime", 0, "1", "The time at which the record is looked at; default now."),
            _parameter("setting", "code", 0, "1", "Care setting: ed, inpatient or ambulatory."),
            _parameter("patient", "Reference", 0, "1", "The patient, at system level."),
            _parameter("record", "Bundle", 0, "1", "The record itself; then nothing is fetched."),
            _parameter("recordComplete", "boolean", 0, "1", "The record holds everything there is: what is not in it is absent."),
            {"name": "return", "use": "out", "min": 1, "max": "1", "documentation": "The answers.", "type": "Bundle"},
        ],
    }


def _parameter(name: str, kind: str, low: int, high: str, words: str) -> dict[str, object]:
    return {"name": name, "use": "in", "min": low, "max": high, "documentation": words, "type": kind}
