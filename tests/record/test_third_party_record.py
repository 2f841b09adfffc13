"""Third-party patients with all their dirt: all are read, and an independent reading agrees on every value."""

import datetime as dt
import json
import math
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.record import build_record, hide_later, read_bundle
from gateway.record.values import Measurement, PatientRecord
from gateway.terminology import Converted, Terminology

PATIENTS = 105
VALUES_MIN = 80
REREAD = Path(__file__).with_name("reread.py")

Patients = list[tuple[dict[str, Any], bytes]]


def suggested_as_of(entry: dict[str, Any]) -> dt.datetime | None:
    """Return the time at which the index suggests to look at a patient."""
    text = entry["suggested_as_of"]
    if text is None:
        return None
    at = dt.datetime.fromisoformat(text)
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)


def read_patient(entry: dict[str, Any], raw: bytes, terminology: Terminology) -> PatientRecord:
    """Return a patient as known at the suggested time."""
    record = build_record(read_bundle(raw, patient_id=entry["id"], declared_complete=True), terminology)
    as_of = suggested_as_of(entry)
    return hide_later(record, as_of) if as_of is not None else record


def test_every_third_party_patient_is_read(third_party: Patients, terminology: Terminology, figure: Callable[[str], None]) -> None:
    """No exception; a table says per source what was used, what was dropped, and why."""
    used: dict[str, Counter[str]] = defaultdict(Counter)
    dropped: dict[str, Counter[str]] = defaultdict(Counter)
    for entry, raw in third_party:
        record = read_patient(entry, raw, terminology)
        source = entry["file"].removesuffix(".ndjson.gz")
        used[source]["patients"] += 1
        used[source]["measurements"] += len(record.measurements)
        used[source]["usable"] += sum(_is_usable(found, terminology) for found in record.measurements)
        used[source]["problems"] += len(record.problems)
        used[source]["orders"] += len(record.medications)
        used[source]["unrecognised"] += sum(found.active and not found.recognised for found in record.medications)
        used[source]["stays"] += len(record.stays)
        dropped[source].update(f"{found.resource.partition('/')[0]} {found.reason}" for found in record.dropped)
        dropped[source].update(_refusals(record, terminology))
    _show_table(used, dropped, figure)
    assert sum(counts["patients"] for counts in used.values()) == len(third_party) == PATIENTS


def _is_usable(found: Measurement, terminology: Terminology) -> bool:
    if not found.usable_status or found.time is None or found.comparator:
        return False
    return bool(found.value_codes) or _converted(found, found.concepts[0], terminology) is not None


def _refusals(record: PatientRecord, terminology: Terminology) -> list[str]:
    """Return why measurements that were kept are not usable: they stay visible, but no model reads them."""
    reasons = []
    for found in record.measurements:
        if not found.usable_status:
            reasons.append(f"Observation kept, not usable: status {found.status}")
        elif found.time is None:
            reasons.append("Observation kept, not usable: undated")
        elif found.absent_reason is not None:
            reasons.append(f"Observation kept, not usable: {found.absent_reason}")
        elif found.value is not None:
            outcome = terminology.convert(found.concepts[0], found.value, found.unit, coded=found.unit_coded)
            if not isinstance(outcome, Converted):
                reasons.append(f"Observation kept, not usable: {outcome.reason} ({found.concepts[0]}, {found.unit})")
    return reasons


def _show_table(used: dict[str, Counter[str]], dropped: dict[str, Counter[str]], figure: Callable[[str], None]) -> None:
    columns = ("patients", "measurements", "usable", "problems", "orders", "unrecognised", "stays")
    figure(f"{'source':<32}" + "".join(f"{column:>14}" for column in columns))
    for source in sorted(used):
        figure(f"{source:<32}" + "".join(f"{used[source][column]:>14}" for column in columns))
        for reason, count in sorted(dropped[source].items()):
            figure(f"    {count:>6} x {reason}")


def _converted(found: Measurement, concept: str, terminology: Terminology) -> float | None:
    if found.value is None:
        return None
    outcome = terminology.convert(concept, found.value, found.unit, coded=found.unit_coded)
    return outcome.value if isinstance(outcome, Converted) else None


def newest(record: PatientRecord, concept: str, terminology: Terminology) -> tuple[str, list[Any]] | None:
    """Return (time, values at that time) of the newest usable values of a concept."""
    rows: list[tuple[dt.datetime, Any]] = []
    for found in record.measurements:
        if concept in found.concepts and found.usable_status and found.time is not None and found.comparator is None:
            if concept == "smoking":
                rows += [(found.time.at, code.code) for code in found.value_codes]
            elif (value := _converted(found, concept, terminology)) is not None:
                rows.append((found.time.at, value))
    if not rows:
        return None
    last = max(at for at, _ in rows)
    return last.isoformat(), sorted({value for at, value in rows if at == last})


def test_an_independent_reading_agrees_on_every_value(
    third_party: Patients, patients_dir: Path, terminology: Terminology, figure: Callable[[str], None]
) -> None:
    """Ten patients, one per source where possible, read again by a script that knows nothing of the product: value, unit and time."""
    ran = subprocess.run([sys.executable, "-I", str(REREAD), str(patients_dir)], capture_output=True, check=True, text=True)
    by_place = {(entry["file"], entry["line"]): (entry, raw) for entry, raw in third_party}
    rereadings = [json.loads(line) for line in ran.stdout.splitlines()]
    compared, wrong = 0, []
    for reread in rereadings:
        record = read_patient(*by_place[reread["file"], reread["line"]], terminology)
        ours = {name for found in record.measurements for name in found.concepts if newest(record, name, terminology) is not None}
        wrong += [(reread["file"], name, "only one of the two has it") for name in ours.symmetric_difference(reread["values"])]
        for name in ours & set(reread["values"]):
            time, unit, values = reread["values"][name]
            found_time, found_values = newest(record, name, terminology) or ("", [])
            compared += 1
            if time != found_time or unit not in (terminology.concept(name).unit, "code") or not _same(found_values, values):
                wrong.append((reread["file"], name, (time, unit, values, found_time, found_values)))
        figure(f"{reread['file']:<42} line {reread['line']:>3}: {len(reread['values']):>3} values")
    figure(f"{compared} values compared, {len(wrong)} differ")
    assert wrong == []
    assert compared >= VALUES_MIN
    assert len(rereadings) == 10
    assert "gateway" not in {
        line.split()[1].partition(".")[0] for line in REREAD.read_text().splitlines() if line.startswith(("import ", "from "))
    }


def _same(found: list[Any], expected: list[Any]) -> bool:
    if len(found) != len(expected):
        return False
    return all(
        one == two if isinstance(two, str) else math.isclose(one, two, rel_tol=1e-9) for one, two in zip(found, expected, strict=True)
    )
