"""Units: every row of the vector table, and the rules it does not spell out."""
# ruff: noqa: FBT001 - flags are columns of the tables

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.terminology import Converted, Refused, RefusedReason, Terminology, load_terminology

TERMINOLOGY = load_terminology()
NUMERIC = sorted(name for name, concept in TERMINOLOGY.concepts.items() if concept.unit is not None)


def test_every_row_of_the_unit_table_gives_its_status_and_value(
    terminology: Terminology, clinical_dir: Path, figure: Callable[[str], None]
) -> None:
    """Each of the vectors is accepted, mapped or refused as the table says; none may be skipped."""
    rows = list(csv.DictReader((clinical_dir / "units_vectors.csv").read_text(encoding="utf-8").splitlines()))
    wrong = []
    for row in rows:
        outcome = terminology.convert(row["concept"], float(row["value_in"]), row["unit_code_in"] or None, coded=True)
        if isinstance(outcome, Refused):
            agrees = row["expected_status"] == "reject"
        else:
            expected, tolerance = float(row["expected_value"]), float(row["tolerance_rel"])
            agrees = outcome.kind == row["expected_status"] and math.isclose(outcome.value, expected, rel_tol=tolerance)
            agrees = agrees and row["canonical_unit"] == terminology.concept(row["concept"]).unit
        if not agrees:
            wrong.append((row["case_id"], outcome))
    figure(f"units: {len(rows) - len(wrong)} of {len(rows)} rows within tolerance")
    assert len(rows) >= 30
    assert wrong == []


@pytest.mark.parametrize(
    ("concept", "value", "unit", "coded", "expected"),
    [
        ("temperature", 98.6, "F", False, Converted(37.0, "alias")),
        ("temperature", 98.6, "F", True, Refused(RefusedReason.UNKNOWN_UNIT)),  # as UCUM, F is farad
        ("temperature", 37.0, "C", False, Converted(37.0, "alias")),
        ("temperature", 37.0, "C", True, Refused(RefusedReason.UNKNOWN_UNIT)),  # as UCUM, C is coulomb
        ("weight", 154.3, "lbs", False, Converted(69.989302691, "alias")),
        ("height", 70.0, "[in_i]", True, Converted(177.8, "convert")),
        ("sbp", 120.0, "mmHg", True, Converted(120.0, "alias")),
        ("heart_rate", 72.0, "beats/min", False, Converted(72.0, "alias")),
        ("egfr_ckdepi2021", 80.0, "mL/min/1.73.m2", True, Converted(80.0, "alias")),
        ("egfr_ckdepi2021", 80.0, "mL/min", True, Refused(RefusedReason.REJECTED_UNIT)),
        ("egfr_other", 80.0, "mL/min", True, Refused(RefusedReason.REJECTED_UNIT)),
        ("gcs_total", 15.0, "1", True, Converted(15.0, "identity")),
        ("creatinine", 1.0, "mg/DL ", False, Refused(RefusedReason.UNKNOWN_UNIT)),  # nothing is guessed
        ("creatinine", 88.4, "µmol/L", False, Converted(1.0, "alias")),
        ("creatinine", 0.0, "mg/dL", True, Refused(RefusedReason.IMPLAUSIBLE, 0.0)),
        ("creatinine", math.inf, "mg/dL", True, Refused(RefusedReason.NOT_FINITE)),
        ("creatinine", math.nan, "mg/dL", True, Refused(RefusedReason.NOT_FINITE)),
        ("spo2", 97.0, "1", True, Refused(RefusedReason.IMPLAUSIBLE, 9700.0)),
        ("smoking", 1.0, "1", True, Refused(RefusedReason.NOT_NUMERIC)),
        ("sbp", 120.0, "", True, Refused(RefusedReason.MISSING_UNIT)),
    ],
)
def test_a_unit_is_known_or_refused_with_its_reason(
    terminology: Terminology,
    concept: str,
    value: float,
    unit: str,
    coded: bool,
    expected: Converted | Refused,
) -> None:
    """Text units map by table only; a code means what UCUM says; the reason tells implausible from unknown."""
    outcome = terminology.convert(concept, value, unit, coded=coded)
    if isinstance(expected, Converted):
        assert isinstance(outcome, Converted)
        assert (outcome.value, outcome.kind) == (pytest.approx(expected.value, rel=1e-9), expected.kind)
    else:
        assert outcome == expected


@given(st.sampled_from(NUMERIC), st.floats(), st.text(max_size=12), st.booleans())
def test_no_number_comes_out_of_a_unit_nobody_lists(concept: str, value: float, unit: str, coded: bool) -> None:
    """Whatever text stands for the unit: either the tables list it, or the value is refused; and what comes out is plausible."""
    outcome = TERMINOLOGY.convert(concept, value, unit, coded=coded)
    table = TERMINOLOGY.units.coded if coded else TERMINOLOGY.units.text
    if isinstance(outcome, Converted):
        assert unit in table[concept]
        assert TERMINOLOGY.concept(concept).plausible(outcome.value)
    elif unit not in table[concept]:
        assert outcome.reason in (RefusedReason.UNKNOWN_UNIT, RefusedReason.MISSING_UNIT)
