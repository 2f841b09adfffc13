"""Checks written-out answers against the raw records, on its own: plain JSON, own units, own formulas, nothing of the product.

    python recheck.py ANSWERS FOLDER      ANSWERS: JSON lines of `test_written_out_answers.py`; FOLDER: the third-party patients

For each answer: every number stands in the resource it names, converts to the input's number, and the inputs give the answer. Prints each
number beside its raw resource; ends with a line of counts. When it disagrees with the product, one of the two is wrong.
"""

import gzip
import json
import math
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))

import prevent_by_hand  # noqa: E402 - its folder is no package

CLOSE = 1e-9
# (input concept, unit as recorded) -> factor to the input's unit. A unit that is the input's own needs no line.
FACTORS = {
    ("total_cholesterol", "mmol/L"): 1 / 0.02586,
    ("hdl_cholesterol", "mmol/L"): 1 / 0.02586,
    ("creatinine", "umol/L"): 1 / 88.4,
    ("creatinine", "mmol/L"): 1000 / 88.4,
    ("bilirubin_total", "umol/L"): 1 / 17.104,
    ("albumin_serum", "g/L"): 0.1,
    ("hemoglobin", "g/L"): 0.1,
    ("uacr", "mg/mmol"): 8.8402,
    ("height", "[in_i]"): 2.54,
    ("weight", "[lb_av]"): 0.45359237,
}
SAME_UNIT = {
    "mmHg": "mm[Hg]",
    "10*3/uL": "10*9/L",
    "K/uL": "10*9/L",
    "IU/L": "U/L",
    "1": "{INR}",
    "kg/m2": "kg/m2",
    "insp/min": "/min",
    "bpm": "/min",
}


class Wrong(Exception):
    """A number that does not agree; the text says which."""


# --- the raw record ---------------------------------------------------------------------------------------------------------------


def bundle_of(answer, folder):
    """The patient's Bundle as published."""
    with gzip.open(folder / answer["file"], "rt", encoding="utf-8") as lines:
        return json.loads(next(line for count, line in enumerate(lines, 1) if count == answer["line"]))


def resource_of(bundle, name):
    """The resource `Type/id`; where the published entry has no id, the end of its fullUrl names it."""
    kind, _, wanted = name.partition("/")
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if (
            resource["resourceType"] == kind
            and (resource.get("id") or entry.get("fullUrl", "").replace(":", "/").rpartition("/")[2]) == wanted
        ):
            return resource
    raise Wrong(f"{name} is not in the record")


def quantities(resource):
    """Every (value, unit, unit code) an Observation holds, components included."""
    for thing in [resource, *resource.get("component", [])]:
        quantity = thing.get("valueQuantity", {})
        if "value" in quantity:
            yield quantity["value"], quantity.get("unit"), quantity.get("code")


def converted(concept, unit, evidence, resource):
    """The number of one resource in the input's unit."""
    for value, words, code in quantities(resource):
        if value == evidence["raw_value"] and evidence["raw_unit"] in (words, code):
            return convert(concept, unit, value, code or words)
    raise Wrong(f"{evidence['resource']} does not hold {evidence['raw_value']} {evidence['raw_unit']}")


def convert(concept, unit, value, found):
    """One number in another unit."""
    if found == "[degF]":
        return (value - 32) * 5 / 9
    if found == unit or SAME_UNIT.get(found) == unit:
        return value
    if (concept, found) not in FACTORS:
        raise Wrong(f"{concept}: no factor from {found} to {unit}")
    return value * FACTORS[concept, found]


def age_in_years(born, day):
    """Completed years on a day, both as YYYY-MM-DD."""
    return int(day[:4]) - int(born[:4]) - (day[5:10] < born[5:10])


# --- one input --------------------------------------------------------------------------------------------------------------------


def check_input(answer, bundle, name):
    """Compare an input with what the raw record says; return a line with the number beside its resource."""
    given = answer["inputs"][name]
    value = given["value"]
    if value is None:
        return f"{name}: none ({given['state']})"
    names = ", ".join(evidence["resource"] for evidence in given["evidence"]) or "nothing recorded"
    resources = [resource_of(bundle, evidence["resource"]) for evidence in given["evidence"]]
    if name == "age":
        expect(name, value, age_in_years(resources[0]["birthDate"], answer["as_of"]))
    elif name == "sex":
        expect(name, value, {"female": 0, "male": 1}[resources[0]["gender"]])
    elif "lineage" in given:
        expect(name, value, egfr(answer, bundle, given))
    elif isinstance(value, float) and resources and any(True for resource in resources for _ in quantities(resource)):
        check_measured(name, given, resources)
    elif given["state"] == "concluded-absent":
        expect(name, value, 0)
    raw = ", ".join(f"{evidence.get('raw_value')} {evidence.get('raw_unit') or ''}".strip() for evidence in given["evidence"])
    return f"{name} = {value} ({raw or given['state']}; {names})"


def check_measured(name, given, resources):
    """One number is itself, several are a mean, a weight and a height are a body mass index."""
    pairs = list(zip(given["evidence"], resources, strict=True))
    if name == "bmi" and len(pairs) == 2:
        weight, height = (
            converted(kind, unit, *pair) for (kind, unit), pair in zip([("weight", "kg"), ("height", "cm")], pairs, strict=True)
        )
        expect(name, given["value"], 10000 * weight / height**2)
        return
    numbers = [converted(given["concept"], given["unit"], *pair) for pair in pairs]
    expect(name, given["value"], sum(numbers) / len(numbers))


def egfr(answer, bundle, given):
    """CKD-EPI 2021 from the creatinine the input rests on."""
    (evidence,) = [found for found in given["evidence"] if found["resource"].startswith("Observation/")]
    creatinine = converted("creatinine", "mg/dL", evidence, resource_of(bundle, evidence["resource"]))
    return ckdepi(creatinine, answer["inputs"]["age"]["value"], answer["inputs"]["sex"]["value"])


def expect(name, found, wanted):
    """Agree, or say what differs."""
    if not math.isclose(found, wanted, rel_tol=CLOSE, abs_tol=CLOSE):
        raise Wrong(f"{name}: {found} instead of {wanted}")


# --- the formulas, from the papers ------------------------------------------------------------------------------------------------


def ckdepi(creatinine, age, male):
    """Inker 2021."""
    kappa, alpha = (0.9, -0.302) if male else (0.7, -0.241)
    ratio = creatinine / kappa
    return 142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2 * 0.9938**age * (1 if male else 1.012)


def ckdepi2021(x):
    """Inker 2021, unrounded."""
    return {"egfr": ckdepi(x["creatinine_mg_dl"], x["age_years"], x["sex"])}


def fib4(x):
    """Sterling 2006."""
    return {"fib4": x["age_years"] * x["ast_u_l"] / (x["platelets_10e9_l"] * math.sqrt(x["alt_u_l"]))}


def prevent(x):
    """Khan 2024: the second reading of the paper's table that the tests of the graph use."""
    table = prevent_by_hand.read_table(ROOT / "models" / "prevent" / "1.0.0" / "coefficients.csv")
    known = {name: value for name, value in x.items() if value is not None}
    extras = {"uacr": "uacr_mg_g" in known, "hba1c": "hba1c_pct" in known}
    present = [name for name, there in extras.items() if there]
    variant = "base" if not present else present[0] if len(present) == 1 else "full"
    risks = prevent_by_hand.risks(table, variant, "male" if x["sex"] else "female", known)
    names = [f"{outcome}_{years}y" for years in (10, 30) for outcome in prevent_by_hand.OUTCOMES]
    return {name: risk for name, risk in zip(names, risks, strict=True) if risk is not None}


def points(value, *bounds):
    """The points of the first bound that is not exceeded: (bound, points) ..., the last bound None."""
    return next(given for bound, given in bounds if bound is None or value <= bound)


def news2(x):
    """Royal College of Physicians 2017, scale 1; numbers rounded as the chart is: halves up."""
    whole = {
        name: math.floor(x[name] + 0.5) for name in ("respiratory_rate_per_min", "spo2_pct", "systolic_bp_mm_hg", "heart_rate_per_min")
    }
    tenths = math.floor(x["temperature_cel"] * 10 + 0.5)
    total = points(whole["respiratory_rate_per_min"], (8, 3), (11, 1), (20, 0), (24, 2), (None, 3))
    total += points(whole["spo2_pct"], (91, 3), (93, 2), (95, 1), (None, 0))
    total += 2 * x["supplemental_oxygen_0_1"]
    total += points(whole["systolic_bp_mm_hg"], (90, 3), (100, 2), (110, 1), (219, 0), (None, 3))
    total += points(whole["heart_rate_per_min"], (40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (None, 3))
    total += points(tenths, (350, 3), (360, 1), (380, 0), (390, 1), (None, 2))
    return {"score": total + (3 if x["consciousness_acvpu"] else 0)}


def kfre(x):
    """Tangri 2016, four variables; `region` 1 is North America."""
    total = (
        -0.2201 * (x["age_years"] / 10 - 7.036)
        + 0.2467 * (x["sex"] - 0.5642)
        - 0.5567 * (x["egfr_ml_min_1_73m2"] / 5 - 7.222)
        + 0.4510 * (math.log(x["uacr_mg_g"]) - 5.137)
    )
    baseline = (
        {"kidney_failure_2y": 0.9750, "kidney_failure_5y": 0.9240}
        if x["region"]
        else {"kidney_failure_2y": 0.9832, "kidney_failure_5y": 0.9365}
    )
    return {name: 1 - survival ** math.exp(total) for name, survival in baseline.items()}


def meld3(x):
    """Kim 2021, adults."""
    bilirubin, inr = max(x["bilirubin_mg_dl"], 1.0), max(x["inr"], 1.0)
    creatinine = 3.0 if x["dialysis_2x_7d_0_1"] else min(max(x["creatinine_mg_dl"], 1.0), 3.0)
    sodium, albumin = min(max(x["sodium_mmol_l"], 125), 137), min(max(x["albumin_g_dl"], 1.5), 3.5)
    raw = 1.33 * (1 - x["sex"]) + 4.56 * math.log(bilirubin) + 0.82 * (137 - sodium) - 0.24 * (137 - sodium) * math.log(bilirubin)
    raw += 9.09 * math.log(inr) + 11.14 * math.log(creatinine) + 1.85 * (3.5 - albumin) - 1.83 * (3.5 - albumin) * math.log(creatinine) + 6
    return {"score": min(max(math.floor(raw + 0.5), 6), 40)}


def hospital(x):
    """Donze 2016."""
    total = (x["hemoglobin_discharge_g_dl"] < 12) + 2 * x["oncology_service_or_active_cancer_0_1"] + (x["sodium_discharge_mmol_l"] < 135)
    total += x["procedure_0_1"] + x["urgent_admission_0_1"] + points(x["admissions_prev_12m"], (1, 0), (5, 2), (None, 5))
    return {"score": total + 2 * (x["length_of_stay_days"] >= 5)}


def cha2ds2vasc(x):
    """Lip 2010."""
    total = x["chf_0_1"] + x["hypertension_0_1"] + x["diabetes_0_1"] + 2 * x["stroke_tia_te_0_1"] + x["vascular_disease_0_1"]
    return {"score": total + points(x["age_years"], (64, 0), (74, 1), (None, 2)) + (1 - x["sex"])}


FORMULAS = {
    "ckdepi2021": ckdepi2021,
    "prevent": prevent,
    "kfre": kfre,
    "news2": news2,
    "meld3": meld3,
    "hospital": hospital,
    "fib4": fib4,
    "cha2ds2vasc": cha2ds2vasc,
}


def check_answer(answer, folder):
    """Check one answer; return its lines."""
    bundle = bundle_of(answer, folder)
    lines = [check_input(answer, bundle, name) for name in answer["inputs"]]
    computed = FORMULAS[answer["model"]]({given["tensor"]: given["value"] for given in answer["inputs"].values()})
    for output, found in answer["outputs"].items():
        if output not in computed:
            raise Wrong(f"{output}: not computed here")
        expect(output, found, computed[output])
        lines.append(f"{output} = {found}")
    return lines


def main(answers, folder):
    """Print every number beside its resource, then the counts."""
    checked = wrong = 0
    for line in answers.read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)
        print(f"{answer['model']}, {answer['file']} line {answer['line']}, at {answer['as_of']}")
        try:
            for told in check_answer(answer, folder):
                print(f"    {told}")
                checked += 1
        except Wrong as difference:
            print(f"    WRONG: {difference}")
            wrong += 1
    print(f"{checked} numbers agree, {wrong} answers differ")
    sys.exit(1 if wrong or not checked else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
