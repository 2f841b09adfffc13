"""The time one record of 60 Observations takes: printed, with a bound that only a change of order of magnitude breaks."""

import datetime as dt
import timeit
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.record import build_record, read_bundle
from gateway.record.strict_json import check_json
from gateway.terminology import Terminology

OBSERVATIONS = 60
BUILD_MS_MAX = 5.0  # 0.35 ms on a quiet core; shared runners are slower
CODES = (
    ("2093-3", "mg/dL", 200.0),
    ("2085-9", "mg/dL", 50.0),
    ("2160-0", "mg/dL", 1.0),
    ("39156-5", "kg/m2", 27.0),
    ("2951-2", "mmol/L", 140.0),
)


def _resources(make: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    start = dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC)
    resources = [make("Patient"), make("Condition"), make("MedicationRequest"), make("Encounter")]
    for number in range(OBSERVATIONS):
        code, unit, value = CODES[number % len(CODES)]
        when = (start - dt.timedelta(days=number // 4, minutes=number)).isoformat()
        resources.append(
            make(
                "Observation",
                id=f"o{number}",
                meta={"versionId": "1", "lastUpdated": when},
                effectiveDateTime=when,
                issued=when,
                code={
                    "coding": [{"system": "http://loinc.org", "code": code, "display": "A laboratory test"}],
                    "text": "A laboratory test",
                },
                category=[{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}],
                valueQuantity={"value": value + number / 100, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
            )
        )
    return resources


def _best_ms(run: Callable[[], object]) -> float:
    return min(timeit.repeat(run, number=20, repeat=5)) / 20 * 1000


def test_a_record_of_60_observations_is_built_within_its_share_of_the_budget(
    make: Callable[..., dict[str, Any]], terminology: Terminology, figure: Callable[[str], None]
) -> None:
    """Decoding and building, opening the same record as a Bundle, and checking its limits."""
    resources = _resources(make)
    raws = tuple(msgspec.json.encode(found) for found in resources)
    fetched = FetchedRecord(
        patient_id="p1",
        parts=(RecordPart(groups=tuple(Group), state=GroupState.COMPLETE, resources=raws),),
    )
    bundle = msgspec.json.encode({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": found} for found in resources]})
    build_ms = _best_ms(lambda: build_record(fetched, terminology))
    open_ms = _best_ms(lambda: read_bundle(bundle, patient_id="p1", declared_complete=True))
    check_ms = _best_ms(lambda: check_json(bundle))
    figure(f"{len(bundle)} bytes: build {build_ms:.3f} ms, open the Bundle {open_ms:.3f} ms, check limits {check_ms:.3f} ms")
    assert len(build_record(fetched, terminology).measurements) == OBSERVATIONS
    assert build_ms < BUILD_MS_MAX
    assert open_ms < BUILD_MS_MAX
    assert check_ms < BUILD_MS_MAX
