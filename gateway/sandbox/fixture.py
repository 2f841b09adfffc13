"""Fixture files: one Bundle per synthetic patient, dates relative, rendered when they are loaded."""

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec

from gateway.sandbox.relative import render_dates

Resource = dict[str, Any]  # any JSON object with a resourceType: a resource's own shape is open


def fixtures_dir() -> Path:
    """Return the folder of the project's synthetic patients: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "fixtures", here.parents[2] / "fixtures"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError("the fixtures are not installed")


def load_fixtures(folder: Path, now: dt.datetime) -> tuple[Resource, ...]:
    """Return all resources of all `*.json` Bundles of a folder, in the order of file names, dates rendered against `now`.

    Raises ValueError when a file is no Bundle, a date is misspelt, or two resources share type and id.
    """
    resources: list[Resource] = []
    for path in sorted(folder.glob("*.json")):
        bundle = msgspec.json.decode(render_dates(path.read_text(encoding="utf-8"), now))
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise ValueError(f"{path.name} is not a Bundle")
        resources.extend(entry["resource"] for entry in bundle["entry"])
    _check_unique(resources)
    return tuple(resources)


def _check_unique(resources: list[Resource]) -> None:
    seen: set[tuple[str, str]] = set()
    for resource in resources:
        key = (resource["resourceType"], resource["id"])
        if key in seen:
            raise ValueError(f"{key[0]}/{key[1]} occurs twice in the fixtures")
        seen.add(key)
