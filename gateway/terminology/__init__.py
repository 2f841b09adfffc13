"""Codes, units, conditions and medications: what a code means, and what a number in some unit is worth.

    terminology = load_terminology(tables, stems)    -> with further rows that releases bring (registry.load_code_sets)
    terminology.concepts_of(system, code)            -> ("creatinine",)       an Observation's or component's code
    terminology.code_group(system, code)             -> ("smoking_current",)  a coded value
    terminology.concept("creatinine")                -> Concept: unit, plausible range, time limits, fetch group, codes
    terminology.codes_for("creatinine")              -> (Code, ...)
    terminology.convert("creatinine", 88.4, "umol/L", coded=True) -> Converted(1.0, "convert") | Refused(reason)
    terminology.problem_groups(codes, text)          -> (groups, possible groups)
    terminology.medication(codes, text)              -> MedicationFacts(ingredients, groups, recognised)
    terminology.care_setting(system, code)           -> "ed" | "inpatient" | "ambulatory" | None

Everything is a table in `data/`; the packaged files are read once, by `load_terminology`.
"""

from gateway.terminology.code import Code
from gateway.terminology.concept import AgeLimit, Concept
from gateway.terminology.extra import TableRefused
from gateway.terminology.load import load_terminology
from gateway.terminology.medication import MedicationFacts
from gateway.terminology.terminology import Terminology
from gateway.terminology.unit import Converted, Refused, RefusedReason

__all__ = [
    "AgeLimit",
    "Code",
    "Concept",
    "Converted",
    "MedicationFacts",
    "Refused",
    "RefusedReason",
    "TableRefused",
    "Terminology",
    "load_terminology",
]
