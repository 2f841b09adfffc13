"""Third-party records, loaded into a real HAPI server with all their dirt, arrive at the client as they were published."""

import json
import random
from collections import Counter

import msgspec
import pytest
import third_party
from hapi_server import as_transaction

from gateway.clock import Deadline, SystemClock
from gateway.fhir.client import FhirClient
from gateway.fhir.group import Group, GroupState
from gateway.fhir.limits import BatchMode, FhirLimits, SourcePolicy
from gateway.fhir.plan import FetchPlan, Search

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900), pytest.mark.needs_server]
CLOCK = SystemClock()
LARGEST = "048ae880-5310-a777-ad02-8837dcdc0457"  # 1,021 Observations
TYPES = {
    "Observation": Group.LABORATORY,
    "Condition": Group.CONDITIONS,
    "MedicationRequest": Group.MEDICATIONS,
    "Encounter": Group.ENCOUNTERS,
    "Procedure": Group.PROCEDURES,
}
PLAN = FetchPlan(searches=tuple(Search(group=group, resource_type=kind) for kind, group in TYPES.items()))


@pytest.fixture(scope="module")
def loaded(hapi):
    """Load one patient of every source and the largest; return (transaction, what was repaired or refused) by source."""
    folder = third_party.patients_folder()
    if folder is None:
        pytest.skip("the third-party patients are not here: set GATEWAY_PATIENTS_DIR")
    index = json.loads((folder / "index.json").read_text())
    chosen = [*third_party.choose([one for one in index if one["n_obs"]], 1), *(one for one in index if one["id"] == LARGEST)]
    outcomes = []
    for entry in {(one["file"], one["line"]): one for one in chosen}.values():
        bundle = third_party.read_bundle(folder, entry)
        transaction, _ = as_transaction(bundle)
        outcomes.append((entry, transaction, hapi.load(bundle)))
    return outcomes


def expected(transaction, patient_id):
    """Count what HAPI gives for the patient, by type: also what refers to a patient of that id on another server (the record drops it)."""
    counts = Counter()
    for one in transaction["entry"]:
        resource = one["resource"]
        if resource["resourceType"] in TYPES and f"/{resource.get('subject', {}).get('reference')}".endswith(f"/Patient/{patient_id}"):
            counts[resource["resourceType"]] += 1
    return counts


async def test_what_was_published_is_what_is_pulled(hapi, loaded):
    """Every accepted record comes back complete, in parallel and by batch; what the server refused or we repaired is listed."""
    pulled = 0
    for entry, transaction, notes in loaded:
        print(f"{entry['file']} line {entry['line']}: {len(transaction['entry'])} entries; {'; '.join(notes) or 'unchanged'}")
        if any(note.startswith("refused") for note in notes):
            continue
        patient_id = third_party.patient_id_of(transaction)
        records = []
        for batch in (BatchMode.NEVER, BatchMode.ALWAYS):
            policy = SourcePolicy(batch=batch)
            async with FhirClient(hapi.base_url, limits=FhirLimits(), clock=CLOCK, policy=policy, randomness=random.Random(1)) as client:
                records.append(await client.fetch(patient_id, PLAN, Deadline(CLOCK, 120), "acceptance-4"))
        for record in records:
            assert {part.state for part in record.parts} == {GroupState.COMPLETE}
            found = Counter(msgspec.json.decode(body)["resourceType"] for part in record.parts for body in part.resources)
            found.pop("Patient")
            assert found == expected(transaction, patient_id), entry["file"]
        assert records[0] == records[1]
        pulled += 1
    assert pulled >= 9
    assert any(expected(transaction, LARGEST)["Observation"] > 1000 for _, transaction, _ in loaded)
