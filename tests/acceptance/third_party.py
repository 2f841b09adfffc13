"""Third-party patients for the acceptance tests: where they are, which are chosen, and how they get into a real server."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def patients_folder() -> Path | None:
    """Return the folder with `index.json` and `*.ndjson.gz`, or None when it is not there."""
    named = os.environ.get("GATEWAY_PATIENTS_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "fhir"
    return folder if (folder / "index.json").is_file() else None


def read_bundle(folder: Path, entry: dict) -> dict:
    """Return one patient's Bundle; `entry` is an element of `index.json`."""
    with gzip.open(folder / entry["file"], "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if number == entry["line"]:
                return json.loads(line)
    raise LookupError("the index names a line that is not there")


def patient_id_of(transaction: dict) -> str:
    """Return the id of the transaction's Patient."""
    return next(one["resource"]["id"] for one in transaction["entry"] if one["resource"]["resourceType"] == "Patient")


def counts_of(transaction: dict) -> Counter[str]:
    """Return how many resources of each type a transaction holds."""
    return Counter(one["resource"]["resourceType"] for one in transaction["entry"])


def choose(index: list[dict], per_source: int) -> Iterator[dict]:
    """Yield the first `per_source` patients of every source file."""
    taken: Counter[str] = Counter()
    for entry in index:
        if taken[entry["file"]] < per_source:
            taken[entry["file"]] += 1
            yield entry
