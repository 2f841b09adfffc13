"""Reads ten third-party patients again, on its own: plain JSON, one loop, its own table, nothing of the product.

    python reread.py FOLDER      prints one JSON line per patient: newest usable value of each input at the suggested as-of time

Deliberately simple, so that a clinician can check it by eye. When it disagrees with the product, one of the two is wrong.
"""

import datetime as dt
import gzip
import json
import pathlib
import sys

PATIENTS = 10

# LOINC code -> (input, unit we want, {unit as found: factor or function})
TABLE = {
    "2093-3": ("total_cholesterol", "mg/dL", {"mg/dL": 1, "mmol/L": 1 / 0.02586}),
    "14647-2": ("total_cholesterol", "mg/dL", {"mg/dL": 1, "mmol/L": 1 / 0.02586}),
    "2085-9": ("hdl_cholesterol", "mg/dL", {"mg/dL": 1, "mmol/L": 1 / 0.02586}),
    "14646-4": ("hdl_cholesterol", "mg/dL", {"mg/dL": 1, "mmol/L": 1 / 0.02586}),
    "18262-6": ("ldl_cholesterol", "mg/dL", {"mg/dL": 1}),
    "13457-7": ("ldl_cholesterol", "mg/dL", {"mg/dL": 1}),
    "2160-0": ("creatinine", "mg/dL", {"mg/dL": 1, "umol/L": 1 / 88.4, "mmol/L": 11.3122}),
    "38483-4": ("creatinine", "mg/dL", {"mg/dL": 1, "umol/L": 1 / 88.4, "mmol/L": 11.3122}),
    "14682-9": ("creatinine", "mg/dL", {"umol/L": 1 / 88.4, "mmol/L": 11.3122}),
    "33914-3": ("egfr_other", "mL/min/{1.73_m2}", {"mL/min/{1.73_m2}": 1}),
    "14959-1": ("uacr", "mg/g", {"mg/g": 1}),
    "9318-7": ("uacr", "mg/g", {"mg/g": 1}),
    "4548-4": ("hba1c", "%", {"%": 1}),
    "8480-6": ("sbp", "mm[Hg]", {"mm[Hg]": 1, "mmHg": 1}),
    "8462-4": ("dbp", "mm[Hg]", {"mm[Hg]": 1, "mmHg": 1}),
    "39156-5": ("bmi", "kg/m2", {"kg/m2": 1}),
    "8302-2": ("height", "cm", {"cm": 1, "[in_i]": 2.54}),
    "29463-7": ("weight", "kg", {"kg": 1, "[lb_av]": 0.45359237}),
    "8867-4": ("heart_rate", "/min", {"/min": 1}),
    "9279-1": ("respiratory_rate", "/min", {"/min": 1}),
    "8310-5": ("temperature", "Cel", {"Cel": 1, "[degF]": lambda x: (x - 32) * 5 / 9}),
    "8331-1": ("temperature", "Cel", {"Cel": 1, "[degF]": lambda x: (x - 32) * 5 / 9}),
    "59408-5": ("spo2", "%", {"%": 1}),
    "2708-6": ("spo2", "%", {"%": 1}),
    "3151-8": ("o2_flow", "L/min", {"L/min": 1}),
    "3150-6": ("fio2", "%", {"%": 1}),
    "3150-0": ("fio2", "%", {"%": 1}),
    "9269-2": ("gcs_total", "{score}", {"{score}": 1}),
    "2951-2": ("sodium", "mmol/L", {"mmol/L": 1}),
    "2947-0": ("sodium", "mmol/L", {"mmol/L": 1}),
    "1975-2": ("bilirubin_total", "mg/dL", {"mg/dL": 1, "umol/L": 0.0584659}),
    "42719-5": ("bilirubin_total", "mg/dL", {"mg/dL": 1}),
    "6301-6": ("inr", "{INR}", {"{INR}": 1}),
    "1751-7": ("albumin_serum", "g/dL", {"g/dL": 1, "g/L": 0.1}),
    "2777-1": ("phosphate", "mg/dL", {"mg/dL": 1, "mmol/L": 3.097}),
    "14879-1": ("phosphate", "mg/dL", {"mmol/L": 3.097}),
    "17861-6": ("calcium", "mg/dL", {"mg/dL": 1, "mmol/L": 4.008}),
    "2000-8": ("calcium", "mg/dL", {"mmol/L": 4.008}),
    "49765-1": ("calcium", "mg/dL", {"mg/dL": 1}),
    "2028-9": ("bicarbonate", "mmol/L", {"mmol/L": 1}),
    "1963-8": ("bicarbonate", "mmol/L", {"mmol/L": 1}),
    "20565-8": ("bicarbonate", "mmol/L", {"mmol/L": 1}),
    "1920-8": ("ast", "U/L", {"U/L": 1}),
    "1742-6": ("alt", "U/L", {"U/L": 1}),
    "777-3": ("platelets", "10*9/L", {"10*3/uL": 1}),
    "718-7": ("hemoglobin", "g/dL", {"g/dL": 1}),
    "6690-2": ("wbc", "10*9/L", {"10*3/uL": 1}),
    "3094-0": ("bun", "mg/dL", {"mg/dL": 1}),
    "6299-2": ("bun", "mg/dL", {"mg/dL": 1}),
}
SMOKING = "72166-2"
# Outside of these a number is a data error (columns plausible_min and plausible_max of the code table).
PLAUSIBLE = {
    "total_cholesterol": (40, 1000),
    "hdl_cholesterol": (3, 200),
    "ldl_cholesterol": (5, 800),
    "creatinine": (0.1, 40),
    "egfr_other": (1, 200),
    "uacr": (0.01, 30000),
    "hba1c": (2, 20),
    "sbp": (40, 300),
    "dbp": (20, 200),
    "bmi": (8, 100),
    "height": (40, 250),
    "weight": (2, 400),
    "heart_rate": (15, 300),
    "respiratory_rate": (3, 80),
    "temperature": (25, 45),
    "spo2": (30, 100),
    "o2_flow": (0, 80),
    "fio2": (21, 100),
    "gcs_total": (3, 15),
    "sodium": (95, 200),
    "bilirubin_total": (0.05, 80),
    "inr": (0.5, 20),
    "albumin_serum": (0.5, 8),
    "phosphate": (0.3, 20),
    "calcium": (3, 20),
    "bicarbonate": (3, 60),
    "ast": (1, 20000),
    "alt": (1, 20000),
    "platelets": (1, 3000),
    "hemoglobin": (2, 26),
    "wbc": (0.05, 500),
    "bun": (1, 300),
}


def moment(text):
    """A FHIR time as UTC; a date counts from its first instant."""
    if len(text) == 4:
        text += "-01-01"
    if len(text) == 7:
        text += "-01"
    time = dt.datetime.fromisoformat(text)
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def loincs(thing):
    """The LOINC codes of an Observation or component."""
    return [coding.get("code") for coding in thing.get("code", {}).get("coding", []) if coding.get("system") == "http://loinc.org"]


def number(quantity, factors):
    """The converted number, or None."""
    if "value" not in quantity or "comparator" in quantity:
        return None
    factor = factors.get(quantity.get("code") or quantity.get("unit"))
    if factor is None:
        return None
    return factor(quantity["value"]) if callable(factor) else quantity["value"] * factor


def usable(resource, names, as_of):
    """The time of an Observation that may be used at all, else None."""
    if resource["resourceType"] != "Observation" or resource.get("status") not in ("final", "amended", "corrected"):
        return None
    if resource.get("subject", {}).get("reference") not in names:
        return None
    period = resource.get("effectivePeriod", {})
    text = resource.get("effectiveDateTime") or resource.get("effectiveInstant") or period.get("end") or period.get("start")
    end = as_of.replace(microsecond=999999)  # an as-of time in whole seconds means that second to its end
    if not text or moment(text) > end or ("issued" in resource and moment(resource["issued"]) > end):
        return None
    return moment(text)


def readings(thing):
    """The (input, unit, value) of an Observation or component."""
    if "dataAbsentReason" in thing:  # "not measured", even where a value stands beside it
        return
    for code in sorted(set(loincs(thing))):
        if code == SMOKING:
            for coding in thing.get("valueCodeableConcept", {}).get("coding", []):
                yield "smoking", "code", coding["code"]
        elif code in TABLE and "valueQuantity" in thing:
            name, unit, factors = TABLE[code]
            value = number(thing["valueQuantity"], factors)
            low, high = PLAUSIBLE[name]
            if value is not None and low <= value <= high:
                yield name, unit, value


def reread(bundle, patient_id, as_of):
    """Return {input: [newest time, unit, values at that time]}."""
    names = {"Patient/" + patient_id}
    names |= {entry["fullUrl"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient" and "fullUrl" in entry}
    found = {}
    for resource in (entry["resource"] for entry in bundle["entry"]):
        time = usable(resource, names, as_of)
        if time is not None:
            for thing in [resource, *resource.get("component", [])]:
                for name, unit, value in readings(thing):
                    found.setdefault(name, []).append((time, unit, value))
    newest = {}
    for name, rows in found.items():
        last = max(row[0] for row in rows)
        newest[name] = [last.isoformat(), rows[0][1], sorted({row[2] for row in rows if row[0] == last})]
    return newest


def choose(index):
    """One patient per source, the one with most inputs; ten sources with the most."""
    best = {}
    for entry in index:
        if entry["suggested_as_of"] and len(entry["inputs"]) > len(best.get(entry["file"], {"inputs": []})["inputs"]):
            best[entry["file"]] = entry
    chosen = sorted(best.values(), key=lambda entry: -len(entry["inputs"]))[:PATIENTS]
    rest = [entry for entry in index if entry["suggested_as_of"] and entry not in chosen]
    chosen += sorted(rest, key=lambda entry: -len(entry["inputs"]))[: PATIENTS - len(chosen)]
    return chosen


def main(folder):
    """Print one line per patient."""
    for entry in choose(json.loads((folder / "index.json").read_text(encoding="utf-8"))):
        with gzip.open(folder / entry["file"], "rt", encoding="utf-8") as lines:
            line = next(line for count, line in enumerate(lines, 1) if count == entry["line"])
        values = reread(json.loads(line), entry["id"], moment(entry["suggested_as_of"]))
        print(json.dumps({"file": entry["file"], "line": entry["line"], "inputs": len(entry["inputs"]), "values": values}))  # noqa: T201 - the table is the evidence


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
