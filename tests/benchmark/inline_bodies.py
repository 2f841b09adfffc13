"""Turns the yardstick's CDS Hooks bodies into the same records as inline Bundles: for REST, and as files for the command line."""

import json
from pathlib import Path
from typing import Any

# The load generator replaces it by a running number, so that no answer could come from a cache; the operation ignores a Parameters' id.
VARY = "d1577c69"


def bundle_of(cds_request: dict[str, Any]) -> dict[str, Any]:
    """Return the prefetched resources of a request as one collection Bundle."""
    entries = []
    for value in cds_request["prefetch"].values():
        resources = [entry["resource"] for entry in value["entry"]] if value["resourceType"] == "Bundle" else [value]
        entries += [{"fullUrl": f"https://ehr.example/fhir/{item['resourceType']}/{item['id']}", "resource": item} for item in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def parameters_of(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return the body of `$assess-risk` for a record that is complete."""
    return {
        "resourceType": "Parameters",
        "id": VARY,
        "parameter": [{"name": "recordComplete", "valueBoolean": True}, {"name": "record", "resource": bundle}],
    }


def write_inline_bodies(cds_folder: Path, rest_folder: Path, bundle_folder: Path) -> None:
    """Write one REST body and one Bundle file per CDS body, under the same names."""
    for folder in (rest_folder, bundle_folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(cds_folder.glob("*.json")):
        bundle = bundle_of(json.loads(path.read_bytes()))
        (bundle_folder / path.name).write_text(json.dumps(bundle, separators=(",", ":")))
        (rest_folder / path.name).write_text(json.dumps(parameters_of(bundle), separators=(",", ":")))
