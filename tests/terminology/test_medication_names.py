"""Medications: ingredients from product names, and when a product is known well enough to say what it does not hold."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.terminology import Code, Terminology

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
LOCAL = "http://hospital.example/formulary"
AH = "antihypertensive"


@pytest.mark.parametrize(
    ("name", "ingredients", "groups"),
    [
        ("Hydrochlorothiazide 25 MG Oral Tablet", {"hydrochlorothiazide"}, {AH}),
        ("Lisinopril 10 MG / HCTZ 12.5 MG Oral Tablet", {"lisinopril", "hydrochlorothiazide"}, {AH}),
        (
            "amLODIPine 5 MG / Hydrochlorothiazide 12.5 MG / Olmesartan medoxomil 20 MG Oral Tablet",
            {"amlodipine", "hydrochlorothiazide", "olmesartan"},
            {AH},
        ),
        ("amLODIPine 2.5 MG Oral Tablet", {"amlodipine"}, {AH}),
        ("amlodipine/atorvastatin 5 mg/10 mg tablet", {"amlodipine", "atorvastatin"}, {AH, "statin"}),
        ("24 HR metoprolol succinate 100 MG Extended Release Oral Tablet [Toprol]", {"metoprolol"}, {AH}),
        ("Lasix 40mg", {"furosemide"}, {AH}),
        ("Zestril 10 mg tablets", {"lisinopril"}, {AH}),
        ("Lipitor", {"atorvastatin"}, {"statin"}),
        ("Caduet 5/10", {"amlodipine", "atorvastatin"}, {AH, "statin"}),
        ("Simvistatin 10 MG", {"simvastatin"}, {"statin"}),
        ("Reaptan 10 mg/10 mg (perindopril arginine/amlodipine) tablet, 30", {"perindopril", "amlodipine"}, {AH}),
        ("10 ML Furosemide 10 MG/ML Injection", {"furosemide"}, {AH}),
        ("Warfarin Sodium 5 MG Oral Tablet", {"warfarin"}, {"anticoagulant_vka"}),
        ("24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet", {"metformin"}, set()),
        ("NDA020503 200 ACTUAT Albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", {"albuterol"}, set()),
        (
            "60 ACTUAT Fluticasone propionate 0.25 MG/ACTUAT / salmeterol 0.05 MG/ACTUAT Dry Powder Inhaler",
            {"fluticasone", "salmeterol"},
            set(),
        ),
        ("Acetaminophen 325 MG / oxyCODONE Hydrochloride 5 MG Oral Tablet", {"acetaminophen", "oxycodone"}, set()),
        ("methotrexate 2.5 MG Oral Tablet [Xatmep]", {"methotrexate"}, set()),
        ("aspirin [Adult Low Dose Aspirin]", {"aspirin"}, set()),
        ("Timolol 0.5 % ophthalmic solution", {"timolol"}, set()),  # eye drops treat no blood pressure
        ("Minoxidil 20 MG/ML Topical Solution", {"minoxidil"}, set()),
    ],
)
def test_a_product_whose_every_word_is_known_is_recognised(
    terminology: Terminology, name: str, ingredients: set[str], groups: set[str]
) -> None:
    """All ingredients of a combination are found; brands, salts, strengths and dose forms are understood."""
    for facts in (terminology.medication([Code(RXNORM, "0", name)], name), terminology.medication([], name)):
        assert set(facts.ingredients) == ingredients
        assert facts.groups == groups
        assert facts.recognised


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("Little Pink Pill for water retention", set()),
        ("CD24Fc 480 MG IV", set()),
        ("Aspirin 81 MG / Zzyzxastatin 10 MG Oral Tablet", set()),
        ("Lisinopril + something new", {AH}),
        ("Sotalol 80 MG Oral Tablet", set()),
        ("prescribed medication", set()),
        ("tablet", set()),
        ("10 MG Oral Tablet [Wonderpill]", set()),
        ("", set()),
        ("preatorvastatinoid", set()),
        ("Lasixol 40 mg", set()),
    ],
)
def test_one_unknown_word_leaves_open_what_a_product_holds(terminology: Terminology, name: str, groups: set[str]) -> None:
    """A known ingredient still counts; that there is no other may not be concluded. Parts of words are no names."""
    facts = terminology.medication([Code(RXNORM, "0", name)], "")
    assert facts.groups == groups
    assert not facts.recognised


@pytest.mark.parametrize("text", ["metoprolol 50 mg and hydrocortisone cream", "atorvastatin 20 mg and hydrocortisone cream"])
def test_a_local_form_beside_another_ingredient_leaves_both_answers_open(terminology: Terminology, text: str) -> None:
    """The words do not say which of the two is the local one: neither "on treatment" nor "not on treatment" may be concluded."""
    facts = terminology.medication((), text)
    assert facts.groups == frozenset()
    assert not facts.recognised


def test_a_listed_code_needs_no_name(terminology: Terminology) -> None:
    """Ingredient and product codes of the table speak for themselves; an unlisted code without a name says nothing."""
    assert terminology.medication([Code(RXNORM, "29046")], "").groups == {AH}
    assert terminology.medication([Code(RXNORM, "866414")], "").ingredients == ("metoprolol",)
    assert terminology.medication([Code(RXNORM, "316672")], "").recognised
    assert not terminology.medication([Code(RXNORM, "314231")], "").recognised


def test_every_name_must_be_understood(terminology: Terminology) -> None:
    """A text that says more than the display is not covered by the display."""
    facts = terminology.medication([Code(RXNORM, "0", "Aspirin 81 MG Oral Tablet")], "aspirin and wonderdrug")
    assert facts.ingredients == ("aspirin",)
    assert not facts.recognised


def test_a_drug_class_beside_a_name_is_no_name(terminology: Terminology) -> None:
    """A local code's display is often a class: it neither adds calcium to a calcium channel blocker nor spoils the name."""
    classed = [Code(NDC, "1"), Code(LOCAL, "7", "Calcium Channel Blockers - Benzothiazepines")]
    facts = terminology.medication(classed, "diltiazem HCl")
    assert (facts.ingredients, facts.groups, facts.recognised) == (("diltiazem",), {AH}, True)


def test_a_local_formulary_display_counts_when_it_is_all_there_is(terminology: Terminology) -> None:
    """Hospitals name their products in their own code system."""
    facts = terminology.medication([Code(LOCAL, "7", "Lisinopril 10 mg tablet")], "")
    assert (facts.ingredients, facts.groups, facts.recognised) == (("lisinopril",), {AH}, True)


def test_active_orders_of_third_party_patients_are_mostly_recognised(terminology: Terminology, figure: Callable[[str], None]) -> None:
    """Active antihypertensive and statin orders with product codes nobody lists are recognised by name; the count is printed."""
    folder = Path(os.environ.get("GATEWAY_PATIENTS_DIR") or Path(__file__).parents[3] / "shared" / "fhir")
    if not folder.is_dir():
        pytest.skip("the third-party patients (GATEWAY_PATIENTS_DIR) are not here")
    counted: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for path in sorted(folder.glob("*.ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                for codes, text in _active_requests(terminology, json.loads(line)):
                    facts = terminology.medication(codes, text)
                    listed = any((code.system, code.code) in terminology.medications.by_code for code in codes)
                    counted["orders"] += 1
                    counted["recognised"] += facts.recognised
                    if facts.groups & {AH, "statin"}:
                        counted["of a group"] += 1
                        counted["of a group, code not listed"] += not listed
                        counted["of a group, code not listed, recognised by name"] += facts.recognised and not listed
                    if not facts.recognised:
                        unknown[text or next((code.display for code in codes if code.display), "(no name)")] += 1
    figure(f"active medication orders of third-party patients: {dict(counted)}")
    figure(f"    not recognised: {dict(unknown)}")
    assert counted["of a group"] >= 48
    assert counted["of a group, code not listed, recognised by name"] >= 29
    assert counted["recognised"] >= 0.95 * counted["orders"]


def _active_requests(terminology: Terminology, bundle: dict) -> list[tuple[list[Code], str]]:  # type: ignore[type-arg]  # JSON
    found = []
    for entry in bundle["entry"]:
        resource = entry["resource"]
        concept = resource.get("medicationCodeableConcept")
        if resource["resourceType"] == "MedicationRequest" and resource.get("status") == "active" and concept:
            codes = [
                Code(terminology.canonical_system(coding.get("system", "")), coding.get("code", ""), coding.get("display", ""))
                for coding in concept.get("coding", [])
            ]
            found.append((codes, concept.get("text", "")))
    return found
