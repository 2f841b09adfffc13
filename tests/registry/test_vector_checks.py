"""Checking vector files: a wrong, unreadable, incomplete or unknown row is a failure and never skipped."""

import math
from typing import NamedTuple

import pytest

from gateway.registry import Kind, VectorsRefused, check_file, check_units, check_vectors
from gateway.registry.vectors import read_rows


class Result(NamedTuple):
    """What a run gives."""

    values: tuple[float, ...]
    applicable: tuple[bool, ...]


def egfr_by_hand(tensors, variant):
    """Stand in for the runtime: CKD-EPI 2021 in plain Python."""
    assert variant is None
    age, sex, creatinine = tensors["age_years"], tensors["sex"], tensors["creatinine_mg_dl"]
    if any(math.isnan(value) for value in (age, sex, creatinine)) or age < 18:
        return Result((math.nan,), (False,))
    kappa, alpha, factor = (0.9, -0.302, 1.0) if sex == 1 else (0.7, -0.241, 1.012)
    ratio = creatinine / kappa
    return Result((142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2 * 0.9938**age * factor,), (True,))


HEADER = "case_id,age_years,sex,creatinine,creatinine_unit,expected_egfr_ml_min_1_73m2,expected_rounded,tolerance_abs"
GOOD = "A,65,female,1.1,mg/dL,55.7635,56,0.0051"


def check(release, terminology, *lines, header=HEADER):
    """Return the report on a file of these lines."""
    return check_vectors(release, egfr_by_hand, terminology, "\n".join([header, *lines, ""]).encode())


# a row, and words of its failure ("" = it passes)
ROWS = [
    (GOOD, ""),
    ("A,65,female,97.24,umol/L,55.7635,56,0.0051", ""),
    ("A,65,female,,mg/dL,,,0.0051", ""),
    ("A,17,female,1.1,mg/dL,,,0.0051", ""),
    ("A,65,,1.1,mg/dL,,,0.0051", ""),
    ("A,65,female,1.1,mg/dL,55.77,56,0.0051", "differs by"),
    ("A,65,female,1.1,mg/dL,,56,0.0051", "must be withheld"),
    ("A,65,female,,mg/dL,55.7635,56,0.0051", "is withheld"),
    ("A,65,female,1.1,mg/dL,55.7635,55,0.0051", "expected_rounded differs"),
    ("A,65,female,1.1,mg/dL,55.7635,56,", "no tolerance"),
    ("A,65,female,1.1,mg/dL,55.7635,56,-1", "no tolerance"),
    ("A,65,other,1.1,mg/dL,55.7635,56,0.0051", "cannot be run"),
    ("A,65,female,1.1,stone,55.7635,56,0.0051", "cannot be run: creatinine cannot be used: unknown-unit"),
    ("A,65,female,1.1,,55.7635,56,0.0051", "cannot be run: creatinine cannot be used: missing-unit"),
    ("A,sixty,female,1.1,mg/dL,55.7635,56,0.0051", "cannot be run"),
    ("A,inf,female,1.1,mg/dL,55.7635,56,0.0051", "cannot be run"),
    ("A,65,female,1.1,mg/dL,nan,56,0.0051", "cannot be run"),
]


@pytest.mark.parametrize(("row", "words"), ROWS)
def test_a_row_passes_only_if_everything_in_it_was_compared_and_agrees(ckdepi, known, row, words):
    """Numbers, withheld outputs, the rounded value, units; the reason names no input of the patient."""
    report = check(ckdepi, known, row, GOOD)
    assert report.rows == 2
    if words:
        assert [failure.case_id for failure in report.failures] == ["A"]
        assert words in report.failures[0].reason
        assert report.last_line == "1 of 2 rows within tolerance"
    else:
        assert report.passed
        assert report.last_line == "2 of 2 rows within tolerance"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (HEADER.replace("expected_rounded", "expected_stage"), "not compared"),
        (HEADER.replace("expected_egfr_ml_min_1_73m2", "expected_other"), "not there"),
        (HEADER.replace("age_years", "age"), "no column for age_years"),
        (HEADER.replace("creatinine_unit", "unit"), "no column for creatinine_mg_dl"),
    ],
)
def test_every_row_of_a_file_with_unknown_or_missing_columns_fails(ckdepi, known, header, words):
    """An expected column that nobody compares would pass whatever stands in it."""
    report = check(ckdepi, known, GOOD, GOOD, header=header)
    assert len(report.failures) == report.rows == 2
    assert all(words in failure.reason for failure in report.failures)


def test_a_run_that_breaks_is_the_rows_failure(ckdepi, known):
    """And the error's own text, which may quote a value, is not passed on."""

    def broken(tensors, variant):
        raise RuntimeError("age 65 is odd")

    report = check_vectors(ckdepi, broken, known, f"{HEADER}\n{GOOD}\n".encode())
    assert report.failures[0].reason == "cannot be run: RuntimeError"


def test_a_file_without_rows_does_not_pass(ckdepi, known):
    """Nothing checked is nothing proven."""
    report = check(ckdepi, known)
    assert not report.passed
    assert report.last_line == "0 of 0 rows within tolerance"


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"a,a\n1,2\n", b"a,b\n1\n", b"a,b\n1,2,3\n", b'a,b\n"1,2\n', b"a,\n1,2\n"],
    ids=["not UTF-8", "a column twice", "too short", "too long", "an open quote", "no name"],
)
def test_a_file_that_is_not_a_table_is_refused(content):
    """No row is invented and none is lost."""
    with pytest.raises(VectorsRefused):
        read_rows(content)


def test_the_variant_of_a_row_must_be_one_of_the_models(prevent_release, known):
    """PREVENT's rows name theirs; one that does not cannot be run."""
    rows = prevent_release.vectors.decode().splitlines(keepends=True)[:2]
    report = check_vectors(prevent_release, egfr_by_hand, known, "".join(rows).replace(",base,", ",basic,").encode())
    assert "names none of the model's variants" in report.failures[0].reason


def never(tensors, variant):
    """Stand in for a runtime that must not be asked."""
    raise AssertionError("not to be run")


def test_a_file_is_known_by_its_columns(prevent_release, known):
    """Main, fallback, partial and applicability; anything else is refused."""
    fallback = check_file(prevent_release, prevent_release.files["fallback_vectors.csv"], never, known)
    assert (fallback.kind, fallback.rows.failures) == (Kind.FALLBACK, ())
    partial = check_file(prevent_release, b"model_id,expected_score_min,expected_score_max\nnews2,1,2\nprevent,1,2\n", never, known)
    assert (partial.kind, partial.rows.last_line) == (Kind.PARTIAL, "0 of 1 rows within tolerance")
    with pytest.raises(VectorsRefused, match="no column"):
        check_file(prevent_release, b"case_id,expected_something\nA,1\n", never, known)
    with pytest.raises(VectorsRefused, match="no column"):
        check_file(prevent_release, b"case_id\n", never, known)


def test_a_fallback_row_is_computed_by_the_score(prevent_release, known):
    """A changed answer differs; an empty one demands a refusal; an unknown expected column fails."""
    header, first = prevent_release.files["fallback_vectors.csv"].decode().splitlines()[:2]

    def failures(header: str, row: str) -> list[str]:
        report = check_file(prevent_release, f"{header}\n{row}\n".encode(), never, known)
        return [failure.reason for failure in report.rows.failures]

    assert failures(header, first) == []
    assert "differs by" in failures(header, first.replace("0.1674833574", "0.1674933574"))[0]
    assert "must refuse" in failures(header, first.replace("0.1674833574", ""))[0]
    assert failures(header, first.replace("FRSBMI-001,55", "FRSBMI-001,75").replace("0.1674833574", "")) == []
    assert "age_years" in failures(header, first.replace("FRSBMI-001,55", "FRSBMI-001,75"))[0]
    assert "not compared" in failures(header.replace(",note", ",expected_note"), first)[0]


def test_an_applicability_row_compares_status_codes_outputs_and_fallbacks(ckdepi, known):
    """One changed expectation at a time fails; rows of other models do not count."""
    text = ckdepi.files["applicability_vectors.csv"].decode()

    def reasons(old: str, new: str) -> list[str]:
        assert old in text
        report = check_file(ckdepi, text.replace(old, new, 1).encode(), egfr_by_hand, known)
        return [failure.reason for failure in report.rows.failures]

    assert reasons("abstain", "abstain") == []
    assert "status: abstain instead of ok" in reasons("abstain,AGE", "ok,AGE")[0]
    assert "reason codes: MISSING_INPUT:creatinine instead of none" in reasons("MISSING_INPUT:creatinine", "")[0]
    assert "fallbacks: lab_reported_egfr instead of none" in reasons(",,lab_reported_egfr", ",,none")[0]
    assert "outputs: none instead of egfr" in reasons("AGE_OUT_OF_RANGE,,none", "AGE_OUT_OF_RANGE,egfr,none")[0]
    assert "cannot be run" in reasons('""age_years"": 17', '""age_yeers"": 17')[0]
    assert "cannot be run" in reasons('""age_years"": 17', '""age_years"" 17')[0]
    others = check_file(ckdepi, text.replace("ckdepi2021,", "kfre,").encode(), egfr_by_hand, known)
    assert others.rows.rows == 0


def test_graph_and_judgement_must_agree_on_what_applies(ckdepi, known):
    """A graph that withholds what the judgement allows fails the row."""
    row = '{""age_years"": 60, ""creatinine_mg_dl"": 1.2, ""sex"": ""male""}'
    header = "case_id,model_id,input_json,expected_status,expected_reason_codes,expected_outputs_available,expected_fallback"
    content = f'{header}\nA,ckdepi2021,"{row}",ok,,egfr,\n'
    assert check_file(ckdepi, content.encode(), egfr_by_hand, known).rows.passed
    withholding = check_file(ckdepi, content.encode(), lambda *_: Result((math.nan,), (False,)), known)
    assert "disagree" in withholding.rows.failures[0].reason


UNITS = "case_id,concept,value_in,unit_code_in,canonical_unit,expected_status,expected_value,tolerance_rel"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("U,creatinine,88.4,umol/L,mg/dL,convert,1.0,1e-9", ""),
        ("U,creatinine,1.2,mg/dL,mg/dL,identity,1.2,1e-9", ""),
        ("U,creatinine,1.2,,mg/dL,reject,,", ""),
        ("U,creatinine,88.4,umol/L,mg/dL,convert,1.1,1e-9", "differs"),
        ("U,creatinine,88.4,umol/L,mg/dL,alias,1.0,1e-9", "convert instead of alias"),
        ("U,creatinine,88.4,umol/L,mg/dL,reject,,", "convert instead of reject"),
        ("U,creatinine,88.4,umol/L,g/L,convert,1.0,1e-9", "canonical unit"),
        ("U,creatinine,1.2,,mg/dL,identity,1.2,1e-9", "refused: missing-unit"),
        ("U,creatinin,1.2,mg/dL,mg/dL,identity,1.2,1e-9", "does not know"),
        ("U,creatinine,much,mg/dL,mg/dL,identity,1.2,1e-9", "cannot be run"),
        ("U,creatinine,1.2,mg/dL,mg/dL,identity,1.2,", "no tolerance"),
    ],
)
def test_units_are_held_against_the_terminology(known, row, words):
    """Status, canonical unit and number; a row that cannot be run fails."""
    report = check_units(known, f"{UNITS}\n{row}\n".encode())
    assert [words in failure.reason for failure in report.failures] == ([True] if words else [])


def test_a_file_of_other_columns_is_no_unit_file(known):
    """It is refused, not passed with nothing checked."""
    with pytest.raises(VectorsRefused):
        check_units(known, b"case_id,concept\nU,creatinine\n")
