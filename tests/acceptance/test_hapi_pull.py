"""The client against a real HAPI FHIR server: complete records, both ways of asking, fresh data."""

import datetime as dt
import random

import msgspec
import pytest

from gateway.clock import Deadline, SystemClock
from gateway.errors import NotFound
from gateway.fhir.client import FhirClient
from gateway.fhir.group import Group, GroupState
from gateway.fhir.limits import BatchMode, FhirLimits, SourcePolicy
from gateway.fhir.plan import FetchPlan, Search

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600), pytest.mark.needs_server]
CLOCK = SystemClock()
PATIENT = "pull-many"
COUNT = 1234
PLAN = FetchPlan(
    searches=(
        Search(group=Group.VITAL_SIGNS, resource_type="Observation", parameters=(("category", "vital-signs"),)),
        Search(
            group=Group.LABORATORY, resource_type="Observation", parameters=(("code", "http://loinc.org|2093-3,http://loinc.org|2085-9"),)
        ),
        Search(group=Group.CONDITIONS, resource_type="Condition"),
        Search(group=Group.MEDICATIONS, resource_type="MedicationRequest", parameters=(("_include", "MedicationRequest:medication"),)),
        Search(group=Group.ENCOUNTERS, resource_type="Encounter"),
    )
)


def observation(resource_id, code, category, value, day):
    """Return one Observation of the patient."""
    return {
        "resourceType": "Observation",
        "id": resource_id,
        "status": "final",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": (dt.date(2020, 1, 1) + dt.timedelta(days=day)).isoformat(),
        "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": "mg/dL" if category == "laboratory" else "/min"},
    }


@pytest.fixture(scope="module")
def many(hapi):
    """A synthetic patient with 1,234 vital signs, two labs, and an order that refers to a Medication."""
    resources = [
        {"resourceType": "Patient", "id": PATIENT, "gender": "female", "birthDate": "1970-02-03"},
        *(observation(f"{PATIENT}-v{number}", "8867-4", "vital-signs", 60 + number % 30, number) for number in range(COUNT)),
        observation(f"{PATIENT}-tc", "2093-3", "laboratory", 210, 5),
        observation(f"{PATIENT}-hdl", "2085-9", "laboratory", 52, 5),
        {"resourceType": "Medication", "id": f"{PATIENT}-drug", "code": {"text": "lisinopril"}},
        {
            "resourceType": "MedicationRequest",
            "id": f"{PATIENT}-order",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{PATIENT}"},
            "medicationReference": {"reference": f"Medication/{PATIENT}-drug"},
        },
    ]
    assert hapi.load({"entry": [{"resource": resource} for resource in resources]}) == []
    return hapi


def client_of(server, batch, **limits):
    """Return a client for the server."""
    return FhirClient(
        server.base_url, limits=FhirLimits(**limits), clock=CLOCK, randomness=random.Random(3), policy=SourcePolicy(batch=batch)
    )


async def pull(client):
    """Return the patient's record."""
    return await client.fetch(PATIENT, PLAN, Deadline(CLOCK, 60), "acceptance-1")


def contents(record):
    """Return group -> (state, sorted references with versions)."""
    found = {}
    for part in record.parts:
        heads = [msgspec.json.decode(body) for body in part.resources]
        found[part.groups[0]] = (part.state, sorted((head["resourceType"], head["id"], head["meta"]["versionId"]) for head in heads))
    return found


async def test_a_large_record_is_pulled_completely_in_parallel_and_by_batch_alike(many):
    """Pages of 1000, pages of 100, and a proven batch bring the same 1,234 Observations; auto finds out by itself."""
    async with client_of(many, BatchMode.NEVER) as client:
        parallel = contents(await pull(client))
    assert parallel[Group.VITAL_SIGNS][0] is GroupState.COMPLETE
    assert len(parallel[Group.VITAL_SIGNS][1]) == COUNT
    assert {kind for kind, _, _ in parallel[Group.MEDICATIONS][1]} == {"MedicationRequest", "Medication"}
    async with client_of(many, BatchMode.NEVER, page_entries=100) as client:
        assert contents(await pull(client)) == parallel
    async with client_of(many, BatchMode.AUTO) as client:
        await client.fetch_capability(Deadline(CLOCK, 60))
        assert not client.uses_batch
        assert contents(await pull(client)) == parallel
        assert client.uses_batch
        assert contents(await pull(client)) == parallel
        assert client.uses_batch


@pytest.mark.parametrize("batch", [BatchMode.NEVER, BatchMode.AUTO])
async def test_a_pull_sees_what_was_written_a_moment_ago(many, batch):
    """HAPI would answer the same search from its cache for 60 s; `Cache-Control: no-cache` gives fresh data, in a batch as well."""
    name = f"{PATIENT}-new-{batch}"
    async with client_of(many, batch) as client:
        await client.fetch_capability(Deadline(CLOCK, 60))
        await pull(client)
        before = contents(await pull(client))[Group.LABORATORY][1]
        assert client.uses_batch == (batch is BatchMode.AUTO)
        assert many.request("PUT", f"Observation/{name}", observation(name, "2093-3", "laboratory", 190, 9))[0] == 201
        try:
            after = contents(await pull(client))[Group.LABORATORY][1]
        finally:
            many.request("DELETE", f"Observation/{name}")
    assert set(after) - set(before) == {("Observation", name, "1")}


async def test_the_cache_that_the_client_avoids_is_really_there(many):
    """Without the header the same server answers from its cache: else the test above would prove nothing."""
    search, name = f"Observation?patient={PATIENT}&code=http://loinc.org%7C2085-9", f"{PATIENT}-cached"
    ids = lambda: {entry["resource"]["id"] for entry in many.request("GET", search)[1]["entry"]}  # noqa: E731 -- two uses, one line
    before = ids()
    assert many.request("PUT", f"Observation/{name}", observation(name, "2085-9", "laboratory", 50, 9))[0] == 201
    try:
        assert ids() == before
    finally:
        many.request("DELETE", f"Observation/{name}")


async def test_an_unknown_patient_is_not_found_by_either_way(many):
    """404 for an unknown id and 410 for a deleted one both say that there is no such patient, in parallel and by batch."""
    assert many.request("PUT", "Patient/deleted-one", {"resourceType": "Patient", "id": "deleted-one"})[0] in {200, 201}
    assert many.request("DELETE", "Patient/deleted-one")[0] in {200, 204}
    for batch in (BatchMode.NEVER, BatchMode.ALWAYS):
        async with client_of(many, batch) as client:
            for patient_id in ("nobody", "deleted-one"):
                with pytest.raises(NotFound):
                    await client.fetch(patient_id, PLAN, Deadline(CLOCK, 30), "acceptance-2")


async def test_an_unknown_parameter_falls_back_to_the_wide_search(many):
    """HAPI refuses an unknown parameter with 400; the fallback plan then answers."""
    narrow = FetchPlan(searches=(Search(group=Group.LABORATORY, resource_type="Observation", parameters=(("bogus", "1"),)),))
    wide = FetchPlan(searches=(Search(group=Group.LABORATORY, resource_type="Observation", parameters=(("category", "laboratory"),)),))
    async with client_of(many, BatchMode.NEVER) as client:
        alone = await client.fetch(PATIENT, narrow, Deadline(CLOCK, 30), "acceptance-3")
        assert contents(alone)[Group.LABORATORY] == (GroupState.NOT_FETCHED, [])
        both = await client.fetch(PATIENT, narrow, Deadline(CLOCK, 30), "acceptance-3", fallback=wide)
        assert contents(both)[Group.LABORATORY][0] is GroupState.COMPLETE
        assert len(contents(both)[Group.LABORATORY][1]) == 2
