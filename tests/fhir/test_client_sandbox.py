"""The client against the embedded server: a whole pull over real HTTP."""

import datetime as dt
import random

import msgspec
import pytest

from gateway.clock import Deadline, SystemClock
from gateway.errors import BadRequest, NotFound
from gateway.fhir.client import FhirClient
from gateway.fhir.group import Group, GroupState
from gateway.fhir.limits import FhirLimits
from gateway.fhir.plan import FetchPlan, Search
from gateway.sandbox import SandboxServer

pytestmark = pytest.mark.asyncio
CLOCK = SystemClock()
PLAN = FetchPlan(
    searches=(
        Search(group=Group.VITAL_SIGNS, resource_type="Observation", parameters=(("category", "vital-signs"),)),
        Search(
            group=Group.LABORATORY, resource_type="Observation", parameters=(("code", "http://loinc.org|2093-3,http://loinc.org|2085-9"),)
        ),
        Search(group=Group.SOCIAL_HISTORY, resource_type="Observation", parameters=(("code", "72166-2"),)),
        Search(group=Group.CONDITIONS, resource_type="Condition"),
        Search(group=Group.MEDICATIONS, resource_type="MedicationRequest", parameters=(("_include", "MedicationRequest:medication"),)),
        Search(group=Group.ENCOUNTERS, resource_type="Encounter"),
        Search(group=Group.PROCEDURES, resource_type="Procedure"),
    )
)


@pytest.fixture(scope="module")
def sandbox():
    """Serve the fixtures and one generated patient."""
    with SandboxServer(clock=CLOCK) as server:
        add_many_observations(server, "test-many", 1234)
        yield server


def add_many_observations(server, patient_id, count):
    """Give the server one more patient, with `count` heart rates: generated, because nobody would read them in a file."""
    server.store.add({"resourceType": "Patient", "id": patient_id, "gender": "male", "birthDate": "1970-01-01"})
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    for number in range(count):
        server.store.add(
            {
                "resourceType": "Observation",
                "id": f"{patient_id}-{number}",
                "status": "final",
                "category": [{"coding": [{"code": "vital-signs"}]}],
                "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
                "subject": {"reference": f"Patient/{patient_id}"},
                "effectiveDateTime": (start + dt.timedelta(hours=number)).isoformat(),
                "valueQuantity": {"value": 60 + number % 40, "system": "http://unitsofmeasure.org", "code": "/min"},
            }
        )


async def fetch(sandbox, patient_id, *, limits=None):
    """Return the patient's record as the client pulls it."""
    async with FhirClient(sandbox.base_url, limits=limits or FhirLimits(), clock=CLOCK, randomness=random.Random(1)) as client:
        return await client.fetch(patient_id, PLAN, Deadline(CLOCK, 10), "test-1")


def resources(record, group):
    """Return the decoded resources of a group."""
    part = next(part for part in record.parts if group in part.groups)
    return [msgspec.json.decode(body) for body in part.resources]


async def test_a_patient_arrives_with_every_group_complete(sandbox):
    """Every group of the plan is complete, the empty one too, and each holds what was asked for."""
    record = await fetch(sandbox, "demo-complete")
    assert {part.groups[0]: part.state for part in record.parts} == dict.fromkeys(PLAN.groups, GroupState.COMPLETE)
    assert [one["id"] for one in resources(record, Group.PATIENT)] == ["demo-complete"]
    assert {one["code"]["coding"][0]["code"] for one in resources(record, Group.LABORATORY)} == {"2093-3", "2085-9"}
    assert resources(record, Group.PROCEDURES) == []


async def test_more_observations_than_a_page_arrive_over_several_pages(sandbox):
    """1,234 Observations come complete, each once, whatever the page size."""
    for page_entries in (1000, 100):
        record = await fetch(sandbox, "test-many", limits=FhirLimits(page_entries=page_entries))
        found = resources(record, Group.VITAL_SIGNS)
        assert len(found) == len({one["id"] for one in found}) == 1234


async def test_an_included_medication_is_part_of_the_group(sandbox):
    """`_include` brings the Medication that an order only refers to."""
    record = await fetch(sandbox, "test-medication-reference")
    assert {one["resourceType"] for one in resources(record, Group.MEDICATIONS)} == {"MedicationRequest", "Medication"}


async def test_an_unknown_patient_is_not_found(sandbox):
    """404 on the Patient ends the pull."""
    with pytest.raises(NotFound):
        await fetch(sandbox, "nobody")


@pytest.mark.parametrize("patient_id", ["", "..", ".", "a/b", "a?b", "a%2Fb", "ä", "x" * 65, "a b", "a\n"])
async def test_an_id_that_is_no_fhir_id_never_reaches_the_server(sandbox, patient_id):
    """An id that could change the address is refused before anything is sent."""
    with pytest.raises(BadRequest):
        await fetch(sandbox, patient_id)
