"""Asks about every patient of the benchmark through REST, CDS Hooks and the command line, and compares what they say.

A benchmark of answers that nobody read would measure nothing: no cache, no short cut may make a fast answer another one.
"""

import datetime as dt
import json
import os
import re
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from served import CDS_PATH, COMMAND, ENVIRONMENT, REST_PATH, served, write_configuration

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d))?")
_CARD_PERCENT = re.compile(r"\*\*(\d+\.\d) %\*\*")


def differing_patients(bodies: Path, folder: Path) -> tuple[int, list[str]]:
    """Return how many patients were compared, and the names of those whose three answers differ."""
    names = sorted(path.name for path in (bodies / "bundle_60").glob("*.json"))
    command_config = write_configuration(folder / "command")
    with served(folder / "serve") as url:
        over_http = {
            name: (ask(url + REST_PATH, bodies / "rest_60" / name), ask(url + CDS_PATH, bodies / "cds_60" / name)) for name in names
        }
    with ThreadPoolExecutor(max_workers=2) as pool:
        commanded = dict(zip(names, pool.map(lambda name: assess(bodies / "bundle_60" / name, command_config), names), strict=True))
    return len(names), [name for name in names if not agree(*over_http[name], commanded[name])]


def ask(url: str, body: Path) -> dict[str, Any]:
    """Post a body and return the decoded answer."""
    request = urllib.request.Request(url, data=body.read_bytes(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        decoded: dict[str, Any] = json.load(answer)
    return decoded


def assess(bundle: Path, config: Path) -> dict[str, Any]:
    """Run `gateway assess` on a Bundle file and return the decoded answer."""
    done = subprocess.run(
        [*COMMAND, "assess", str(bundle), "--record-complete", "--json", "--config", str(config)],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        check=True,
        timeout=60,
    )
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


def agree(rest: dict[str, Any], cds: dict[str, Any], commanded: dict[str, Any]) -> bool:
    """Tell whether REST and command line say the same but for ids and the time of asking, and the card shows the same numbers."""
    shown = [percent for card in cds["cards"] for percent in _CARD_PERCENT.findall(card["detail"])]
    return bool(shown) and timeless(rest) == timeless(commanded) and shown == [f"{value:.1f}" for value in percents(rest)]


def timeless(answer: dict[str, Any]) -> str:
    """Return the answer without ids and without moments from today on: what is left was in the record."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    text = _UUID.sub("#", json.dumps(answer, sort_keys=True))
    return _MOMENT.sub(lambda found: "#" if found[0][:10] >= today else found[0], text)


def percents(answer: dict[str, Any]) -> list[float]:
    """Return every probability of an answer, in its order."""
    resources = [entry["resource"] for entry in answer["entry"]]
    predictions = [prediction for resource in resources for prediction in resource.get("prediction", ())]
    return [prediction["probabilityDecimal"] for prediction in predictions if "probabilityDecimal" in prediction]
