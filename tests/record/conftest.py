"""Small resources made by hand, and the folder of third-party patients outside the project."""

import copy
import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.record import build_record
from gateway.record.values import PatientRecord
from gateway.terminology import Terminology, load_terminology

Json = dict[str, Any]
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"

_SAMPLES: dict[str, Json] = {
    "Patient": {"id": "p1", "gender": "female", "birthDate": "1960-05-04"},
    "Observation": {
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2160-0"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-02-01T10:00:00+01:00",
        "valueQuantity": {"value": 1.1, "unit": "mg/dL", "system": UCUM, "code": "mg/dL"},
    },
    "Condition": {
        "id": "c1",
        "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": SNOMED, "code": "44054006", "display": "Diabetes"}]},
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "onsetDateTime": "2020-01-01",
        "recordedDate": "2020-01-03",
    },
    "Procedure": {
        "id": "pr1",
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": SNOMED, "code": "70536003", "display": "Transplant of kidney"}]},
        "performedDateTime": "2019-05-05",
    },
    "MedicationRequest": {
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2024-01-01",
        "medicationCodeableConcept": {"text": "Atorvastatin 20 MG Oral Tablet"},
    },
    "MedicationStatement": {
        "id": "ms1",
        "status": "active",
        "subject": {"reference": "Patient/p1"},
        "dateAsserted": "2024-01-01",
        "medicationCodeableConcept": {"text": "lisinopril"},
    },
    "Encounter": {
        "id": "e1",
        "status": "finished",
        "subject": {"reference": "Patient/p1"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "period": {"start": "2024-02-01T09:00:00Z", "end": "2024-02-01T09:30:00Z"},
    },
}


def sample(resource_type: str, **changes: Any) -> Json:
    """Return a valid resource with some elements replaced; None removes one."""
    resource = {"resourceType": resource_type, **copy.deepcopy(_SAMPLES.get(resource_type, {})), **changes}
    return {name: value for name, value in resource.items() if value is not None}


@pytest.fixture(scope="session")
def terminology() -> Terminology:
    """Return the packaged terminology, loaded once."""
    return load_terminology()


@pytest.fixture(scope="session")
def make() -> Callable[..., Json]:
    """Return the maker of sample resources."""
    return sample


@pytest.fixture(scope="session")
def read(terminology: Terminology) -> Callable[..., PatientRecord]:
    """Return a reader: resources (a Patient is added unless one is given) become a record."""

    def read_resources(*resources: Json | bytes, **changes: Any) -> PatientRecord:
        raws = [found if isinstance(found, bytes) else msgspec.json.encode(found) for found in resources]
        if not any(isinstance(found, dict) and found.get("resourceType") == "Patient" for found in resources):
            raws.insert(0, msgspec.json.encode(sample("Patient")))
        part = RecordPart(groups=tuple(Group), state=GroupState.COMPLETE, resources=tuple(raws))
        return build_record(FetchedRecord(**{"patient_id": "p1", "parts": (part,), **changes}), terminology)

    return read_resources


@pytest.fixture(scope="session")
def patients_dir() -> Path:
    """Return the folder of third-party patients, or skip."""
    folder = Path(os.environ.get("GATEWAY_PATIENTS_DIR") or Path(__file__).parents[3] / "shared" / "fhir")
    if not folder.is_dir():
        pytest.skip("the third-party patients (GATEWAY_PATIENTS_DIR) are not here")
    return folder


@pytest.fixture(scope="session")
def third_party(patients_dir: Path) -> list[tuple[Json, bytes]]:
    """Return (entry of index.json, Bundle) for every patient."""
    index = {(entry["file"], entry["line"]): entry for entry in json.loads((patients_dir / "index.json").read_bytes())}

    def bundles() -> Iterator[tuple[Json, bytes]]:
        for path in sorted(patients_dir.glob("*.ndjson.gz")):
            with gzip.open(path, "rb") as lines:
                for number, line in enumerate(lines, 1):
                    yield index[path.name, number], line

    return list(bundles())
