"""The packaged concept table against its specification, and the reading of its columns."""

import csv
import io
from importlib import resources
from pathlib import Path

import pytest

from gateway.fhir.group import Group
from gateway.terminology import AgeLimit, Terminology, load_terminology
from gateway.terminology.concept import parse_age_limit

# Where our table says more than the specification's, and why.
OUR_CHANGES = {
    ("bmi", "39156-5"): "`computed: kg/(m^2)` is no unit conversion; BMI is computed by a feature",
    ("gcs_total", "9269-2"): "a count given without {score} is still the count",
    ("news_total_precomputed", "88330-6"): "as above",
    ("cancer", "C00-C43,C45-C96"): "C44 is excluded in the block itself, not only in the words beside it",
}


def test_the_concept_table_is_the_specification_but_for_listed_changes(clinical_dir: Path) -> None:
    """Row by row the same as codes.csv; each difference is one that is listed here with its reason."""
    given = list(csv.DictReader(io.StringIO((clinical_dir / "codes.csv").read_text(encoding="utf-8"), newline="")))
    ours = list(
        csv.DictReader(
            io.StringIO(resources.files("gateway.terminology.data").joinpath("concepts.csv").read_text(encoding="utf-8"), newline="")
        )
    )
    assert len(ours) == len(given)
    assert {(row["concept"], row["code"]) for row, theirs in zip(ours, given, strict=True) if row != theirs} == set(OUR_CHANGES)


@pytest.mark.parametrize(
    ("cell", "limit"),
    [
        ("48 h", AgeLimit(hard_days=2)),
        ("1825 d", AgeLimit(hard_days=1825)),
        ("180 d (365 d hard)", AgeLimit(hard_days=365, soft_days=180)),
        ("30 d (365 d kfre8)", AgeLimit(hard_days=30)),
        ("365 d (180 d when diabetic)", AgeLimit(hard_days=365)),
        ("1 h (news2) / 365 d (prevent)", AgeLimit(hard_days=1 / 24)),
        ("48 h (last of stay)", AgeLimit(hard_days=2)),
        ("n/a", AgeLimit(applicable=False)),
        ("", AgeLimit()),
        ("active", AgeLimit()),
        ("problem active: no limit", AgeLimit()),
        ("ever (also resolved; not refuted or entered-in-error)", AgeLimit()),
        ("status active and authoredOn <= 365 d, or dispense <= 120 d", AgeLimit()),
    ],
)
def test_a_staleness_cell_gives_hard_and_soft_limits(cell: str, limit: AgeLimit) -> None:
    """The shortest limit is the default; n/a means not applicable; words without a duration mean no limit."""
    assert parse_age_limit(cell) == limit


def test_an_unknown_staleness_cell_stops_the_start() -> None:
    """A limit nobody understands must not become "no limit"."""
    with pytest.raises(ValueError, match="duration"):
        parse_age_limit("a fortnight")


@pytest.mark.parametrize(
    ("system", "code", "concepts"),
    [
        ("http://loinc.org", "2160-0", ("creatinine",)),
        ("urn:oid:2.16.840.1.113883.6.1", "2160-0", ("creatinine",)),
        ("http://loinc.org", "55284-4", ("bp_panel",)),
        ("http://loinc.org", "3150-6", ("fio2",)),
        ("http://loinc.org", "3150-0", ("fio2",)),
        ("http://loinc.org", "5089", ()),
        ("http://snomed.info/sct", "2160-0", ()),
        ("", "2160-0", ()),
    ],
)
def test_a_code_measures_its_concepts_only_in_its_own_system(
    terminology: Terminology, system: str, code: str, concepts: tuple[str, ...]
) -> None:
    """Aliases of a system count; the same code in another system, or in none, does not."""
    assert terminology.concepts_of(system, code) == concepts


def test_a_coded_value_belongs_to_its_group(terminology: Terminology) -> None:
    """Smoking answers are groups of the value, under any alias of SNOMED CT."""
    assert terminology.code_group("http://snomed.info/sct", "449868002") == ("smoking_current",)
    assert terminology.code_group("urn:oid:2.16.840.1.113883.6.96", "8517006") == ("smoking_no",)
    assert terminology.code_group("http://snomed.info/sct", "266927001") == ("smoking_unknown",)


def test_every_concept_knows_the_group_it_is_fetched_with(terminology: Terminology) -> None:
    """Vital signs, laboratory, smoking, conditions, medications, encounters."""
    expected = {
        "sbp": Group.VITAL_SIGNS,
        "bmi": Group.VITAL_SIGNS,
        "creatinine": Group.LABORATORY,
        "smoking": Group.SOCIAL_HISTORY,
        "prior_cvd": Group.CONDITIONS,
        "statin": Group.MEDICATIONS,
        "ed_visit": Group.ENCOUNTERS,
    }
    assert {name: terminology.concept(name).group for name in expected} == expected
    assert [code.code for code in terminology.codes_for("hdl_cholesterol")] == ["2085-9", "14646-4"]
    assert terminology.concept("bp_panel").container
    assert terminology.concept("smoking").coded


@pytest.mark.parametrize(
    ("code", "setting"),
    [
        ("EMER", "ed"),
        ("IMP", "inpatient"),
        ("ACUTE", "inpatient"),
        ("OBSENC", "inpatient"),
        ("AMB", "ambulatory"),
        ("VR", "ambulatory"),
        ("HH", "ambulatory"),
        ("XYZ", None),
    ],
)
def test_an_encounter_class_is_a_care_setting_or_unknown(terminology: Terminology, code: str, setting: str | None) -> None:
    """Only codes of the class system count, or of none, which for this element means the same; anything else says nothing."""
    assert terminology.care_setting("http://terminology.hl7.org/CodeSystem/v3-ActCode", code) == setting
    assert terminology.care_setting("", code) == setting
    assert terminology.care_setting("http://terminology.hl7.org/CodeSystem/v3-DctCode", code) is None


EXTRA = (
    "concept,fhir_element,system,code,display,preferred_unit_ucum,convertible_units_and_factor,plausible_min,plausible_max,"
    "staleness_ed,staleness_inpatient,staleness_ambulatory,group\n"
    "lactate,Observation,http://loinc.org,2524-7,Lactate,mmol/L,mg/dL:0.111,0.1,40,6 h,12 h,n/a,laboratory\n"
)


def test_a_model_can_bring_its_own_concepts() -> None:
    """Further rows in the same columns add concepts with units and limits."""
    terminology = load_terminology([EXTRA.encode()])
    assert terminology.concepts_of("http://loinc.org", "2524-7") == ("lactate",)
    assert terminology.concept("lactate").ages["ed"] == AgeLimit(hard_days=0.25)
    assert terminology.concepts_of("http://loinc.org", "2160-0") == ("creatinine",)


@pytest.mark.parametrize(
    "table", [EXTRA.replace("mg/dL:0.111", "mg/dL=0.111"), EXTRA.replace("plausible_min", "min"), EXTRA.replace("6 h", "soon")]
)
def test_a_malformed_table_is_an_error_at_start(table: str) -> None:
    """A conversion, a column or a limit that cannot be read is never left out silently."""
    with pytest.raises(ValueError, match=r"conversion|column|duration"):
        load_terminology([table.encode()])
