"""Conditions and procedures: groups by code, and possible groups by words, as a clinician would read them."""

import pytest

from gateway.terminology import Code, Terminology

SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"
ICD9 = "http://hl7.org/fhir/sid/icd-9-cm"
LOCAL = "http://hospital.example/codes"


@pytest.mark.parametrize(
    ("system", "code", "group"),
    [
        (ICD10, "I21.4", "prior_cvd"),
        (ICD10, "I214", "prior_cvd"),
        (ICD10, " i21.4 ", "prior_cvd"),
        (ICD10, "I2510", "prior_cvd"),
        (ICD10, "I509", "prior_cvd"),
        (ICD10, "I69351", "prior_cvd"),
        (ICD10, "G45.9", "prior_cvd"),
        (ICD10, "I70.201", "prior_cvd"),
        (ICD10, "Z95.1", "prior_cvd"),
        (ICD10, "Z955", "prior_cvd"),
        (ICD10, "E11.9", "diabetes"),
        (ICD10, "E119", "diabetes"),
        (ICD10, "E13", "diabetes"),
        (ICD10, "R73.03", "diabetes_NOT"),
        (ICD10, "O24.410", "diabetes_NOT"),
        (ICD10, "O24.4", "pregnancy"),
        (ICD10, "O9A.1", "pregnancy"),
        (ICD10, "Z33.1", "pregnancy"),
        (ICD10, "N18.6", "kidney_replacement"),
        (ICD10, "N186", "ckd"),
        (ICD10, "N17.9", "aki"),
        (ICD10, "C50.9", "cancer"),
        (ICD9, "410.71", "prior_cvd"),
        (ICD9, "41071", "prior_cvd"),
        (ICD9, "428.0", "prior_cvd"),
        (ICD9, "43820", "prior_cvd"),
        (ICD9, "V45.81", "prior_cvd"),
        (ICD9, "V4582", "prior_cvd"),
        (ICD9, "V1254", "prior_cvd"),
        (ICD9, "25000", "diabetes"),
        (ICD9, "250.02", "diabetes"),
        (ICD9, "5856", "kidney_replacement"),
        (ICD9, "584.9", "aki"),
        (SNOMED, "22298006", "prior_cvd"),
        (SNOMED, "44054006", "diabetes"),
        (SNOMED, "15777000", "diabetes_NOT"),
        (SNOMED, "72892002", "pregnancy"),
        (SNOMED, "70536003", "kidney_replacement"),
    ],
)
def test_a_code_belongs_to_its_group_with_or_without_dot(terminology: Terminology, system: str, code: str, group: str) -> None:
    """Exact SNOMED codes; ICD blocks and ranges in any spelling."""
    assert group in terminology.problem_groups([Code(system, code, "")], "")[0]


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (ICD10, "I26.9"),
        (ICD10, "I70.0"),
        (ICD10, "I48.0"),
        (ICD10, "G44"),
        (ICD10, "Z95.0"),
        (ICD10, "C44.9"),
        (ICD9, "415.1"),
        (ICD9, "V45.01"),
        (ICD9, "440.1"),
        (ICD10, "I2"),
        (ICD10, ""),
        (SNOMED, "I21.4"),
        (LOCAL, "I21.4"),
    ],
)
def test_a_code_outside_the_blocks_is_not_prior_cardiovascular_disease(terminology: Terminology, system: str, code: str) -> None:
    """Neighbours of a block, shortened codes, and ICD codes under another system do not count."""
    groups, _ = terminology.problem_groups([Code(system, code, "words that say nothing")], "")
    assert "prior_cvd" not in groups
    assert "cancer" not in groups


def test_local_icd_systems_are_icd(terminology: Terminology) -> None:
    """MIMIC's own systems and oids are read as the ICD they carry."""
    systems = terminology.systems
    assert systems["http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd10"] == ICD10
    assert systems["http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd9"] == ICD9
    assert systems["urn:oid:2.16.840.1.113883.6.90"] == ICD10
    assert systems["urn:oid:2.16.840.1.113883.6.103"] == ICD9


@pytest.mark.parametrize(
    ("words", "group"),
    [
        ("Old inferior infarct", "prior_cvd"),
        ("NSTEMI 2015", "prior_cvd"),
        ("Three-vessel coronary disease", "prior_cvd"),
        ("Ischaemic cardiomyopathy", "prior_cvd"),
        ("ISCHEMIC HEART DIS NOS", "prior_cvd"),
        ("Congestive heart failure", "prior_cvd"),
        ("Cardiac failure, chronic", "prior_cvd"),
        ("Unsp combined systolic (congestive) hrt fail", "prior_cvd"),
        ("CHF", "prior_cvd"),
        ("Stroke", "prior_cvd"),
        ("Cerebrovascular disease", "prior_cvd"),
        ("H/O TIA", "prior_cvd"),
        ("Transient ischaemic attack", "prior_cvd"),
        ("Status post bypass surgery", "prior_cvd"),
        ("Insertion of stent", "prior_cvd"),
        ("PCI to LAD", "prior_cvd"),
        ("Percutaneous transluminal angioplasty", "prior_cvd"),
        ("CABG x3", "prior_cvd"),
        ("Peripheral arterial disease", "prior_cvd"),
        ("Peripheral vascular disease", "prior_cvd"),
        ("Stable angina", "prior_cvd"),
        ("Increased risk of recurrent stroke", "prior_cvd"),
        ("High risk of falls after cerebral infarction in 2019", "prior_cvd"),
        ("Family history of breast cancer; stroke 2010", "prior_cvd"),
        ("At risk of falls after stroke", "prior_cvd"),
        ("Risk of bleeding with stent", "prior_cvd"),
        ("At risk for infection post CABG", "prior_cvd"),
        ("Screening for depression after stroke", "prior_cvd"),
        ("Family history of CAD and personal history of stroke", "prior_cvd"),
        ("Old MI", "prior_cvd"),
        ("AMI 2014", "prior_cvd"),
        ("CCF", "prior_cvd"),
        ("Post-infarction state", "prior_cvd"),
        ("Left ventricular systolic dysfunction", "prior_cvd"),
        ("Herzinfarkt 2012", "prior_cvd"),
        ("Koronare Herzkrankheit", "prior_cvd"),
        ("Schlaganfall", "prior_cvd"),
        ("Insuffisance cardiaque", "prior_cvd"),
        ("Infarto de miocardio", "prior_cvd"),
        ("Diabetes mellitus in remission", "diabetes"),
        ("Screening for diabetic retinopathy", "diabetes"),
        ("Screening for retinopathy in diabetes", "diabetes"),
        ("Risk of hypoglycaemia in diabetes", "diabetes"),
        ("T2DM", "diabetes"),
        ("Diabetic foot ulcer", "diabetes"),
        ("Pregnancy, 20 weeks", "pregnancy"),
        ("Third trimester", "pregnancy"),
        ("Preeclampsia", "pregnancy"),
        ("Haemodialysis three times a week", "kidney_replacement"),
        ("Kidney transplant 2012", "kidney_replacement"),
        ("End-stage renal failure", "kidney_replacement"),
        ("ESRD", "kidney_replacement"),
        ("Acute kidney injury", "aki"),
        ("Acute renal failure", "aki"),
    ],
)
def test_words_can_make_a_group_possible(terminology: Terminology, words: str, group: str) -> None:
    """An unlisted code whose display or text contains a stem could belong to the group; in any case, never more than possible."""
    assert terminology.problem_groups([Code(LOCAL, "1", words)], "") == (frozenset(), terminology.problem_groups([], words)[1])
    assert group in terminology.problem_groups([], words)[1]
    assert group in terminology.problem_groups([Code(LOCAL, "1", "")], words.upper())[1]


@pytest.mark.parametrize(
    ("words", "group"),
    [
        ("Family history of stroke", "prior_cvd"),
        ("Family history of ischemic heart disease", "prior_cvd"),
        ("Stroke risk", "prior_cvd"),
        ("At risk of stroke", "prior_cvd"),
        ("At increased risk for heart failure", "prior_cvd"),
        ("Heat stroke", "prior_cvd"),
        ("Heatstroke", "prior_cvd"),
        ("Gastric bypass", "prior_cvd"),
        ("Ureteric stent in place", "prior_cvd"),
        ("Biliary stenting", "prior_cvd"),
        ("Persistent cough", "prior_cvd"),
        ("Consistent with viral infection", "prior_cvd"),
        ("Dementia", "prior_cvd"),
        ("Differentiation syndrome", "prior_cvd"),
        ("Traumatic subarachnoid hemorrhage", "prior_cvd"),
        ("Ludwig's angina", "prior_cvd"),
        ("Screening for coronary artery disease", "prior_cvd"),
        ("Injury of musculus vastus medialis", "kidney_replacement"),
        ("Family history of diabetes", "diabetes"),
        ("Prediabetes", "diabetes"),
        ("Pre-diabetes", "diabetes"),
        ("Gestational diabetes", "diabetes"),
        ("Diabetes insipidus", "diabetes"),
        ("Diabetes screening", "diabetes"),
        ("Urine screening test for diabetes", "diabetes"),
        ("Admission", "diabetes"),
        ("Standard pregnancy test", "pregnancy"),
        ("Not pregnant", "pregnancy"),
        ("Portal hypertension", "hypertension"),
        ("Pulmonary hypertension", "hypertension"),
        ("Acute renal colic", "aki"),
    ],
)
def test_words_that_only_mention_a_disease_do_not_count(terminology: Terminology, words: str, group: str) -> None:
    """History of relatives, risks, tests, and words that merely look alike."""
    assert group not in terminology.problem_groups([Code(LOCAL, "1", words)], "")[1]


def test_a_record_without_any_words_could_be_anything(terminology: Terminology) -> None:
    """An unlisted code with neither display nor text could belong to every group; a listed one only to its own."""
    groups, possible = terminology.problem_groups([Code(LOCAL, "X1", "")], " ")
    assert groups == frozenset()
    assert {"prior_cvd", "diabetes", "pregnancy", "kidney_replacement", "aki"} <= possible
    assert terminology.problem_groups([], "") == (frozenset(), possible)
    assert terminology.problem_groups([Code(SNOMED, "59621000", "")], "") == (frozenset({"hypertension"}), frozenset())


def test_a_code_that_must_not_count_silences_its_words(terminology: Terminology) -> None:
    """Gestational diabetes by code is no possible diabetes, whatever its display says."""
    groups, possible = terminology.problem_groups([Code(SNOMED, "11687002", "Diabetes mellitus arising in pregnancy")], "")
    assert groups == {"diabetes_NOT"}
    assert "diabetes" not in possible


def test_a_listed_code_can_still_mean_more_by_its_words(terminology: Terminology) -> None:
    """I11.0 lies in the block of hypertension, and its words say heart failure."""
    groups, possible = terminology.problem_groups([Code(ICD10, "I110", "Hypertensive heart disease with heart failure")], "")
    assert groups == {"hypertension"}
    assert "prior_cvd" in possible


@pytest.mark.parametrize(
    ("system", "code", "group"),
    [
        (ICD10, "Z86.73", "prior_cvd"),
        (ICD10, "Z8673", "prior_cvd"),
        (ICD10, "I11.0", "prior_cvd"),
        (ICD10, "I130", "prior_cvd"),
        (ICD10, "I13.2", "kidney_replacement"),
        (ICD10, "I12.0", "kidney_replacement"),
        (ICD10, "I74.3", "prior_cvd"),
        (ICD10, "I70.0", "prior_cvd"),
        (ICD9, "402.91", "prior_cvd"),
        (ICD9, "40403", "prior_cvd"),
        (ICD9, "403.91", "kidney_replacement"),
        (ICD10, "O24.12", "diabetes"),
        (ICD10, "O90.4", "aki"),
        (SNOMED, "11687002", "pregnancy"),
    ],
)
@pytest.mark.parametrize("words", ["", "words that say nothing"])
def test_a_code_listed_for_one_group_can_name_the_disease_of_another(
    terminology: Terminology, system: str, code: str, group: str, words: str
) -> None:
    """A heart failure inside the block of hypertension, a stroke in the history: not certain by our lists, and never ruled out."""
    assert group in terminology.problem_groups([Code(system, code, words)], "")[1]


@pytest.mark.parametrize(("system", "code"), [(ICD10, "I10"), (ICD10, "I11.9"), (ICD10, "I12.9"), (ICD9, "401.9"), (ICD9, "402.90")])
def test_plain_hypertension_leaves_nothing_open(terminology: Terminology, system: str, code: str) -> None:
    """Their neighbours in the same block stay what they are."""
    assert terminology.problem_groups([Code(system, code, "")], "") == (frozenset({"hypertension"}), frozenset())
