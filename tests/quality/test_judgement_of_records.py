"""Whole records, judged: what a chart holds, and what may be answered."""

from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.features.manifest import Range
from gateway.features.value import InputState
from gateway.fhir.group import Group, GroupState
from gateway.quality.fallback import fallbacks_after_failure
from gateway.quality.judge import judge
from gateway.quality.report import SettingSource, Verdict
from gateway.quality.setting import care_setting

if TYPE_CHECKING:
    from features.conftest import Charts  # the language of these records


def test_a_complete_record_is_scored_without_reserve(charts: "Charts") -> None:
    """All ten outputs, no reason, the base variant."""
    report = charts.report("prevent", charts.record(*charts.complete()))
    assert (report.verdict, report.reasons, len(report.available), report.variant) == (Verdict.SCORED, (), 10, "base")
    assert (report.setting, report.setting_source) == ("ambulatory", SettingSource.MANIFEST_DEFAULT)


PATIENTS = {
    # what is special about the patient -> verdict, codes
    "died yesterday": ({"deceased": True, "deceased_at": 1}, "not-applicable", "DECEASED"),
    "died, nobody says when": ({"deceased": True}, "not-applicable", "DECEASED"),
    "died after the as-of time": ({"deceased": True, "deceased_at": -1}, "scored", ""),
    "replaced record": ({"replaced": True}, "not-applicable", "RECORD_REPLACED"),
    "inactive record": ({"active": False}, "not-applicable", "RECORD_REPLACED"),
    "29 years": ({"birth_date": "1997-01-01"}, "not-applicable", "AGE_OUT_OF_RANGE"),
    "born in a year, 55 or 56": ({"birth_date": "1970"}, "indeterminate", "MISSING_INPUT:age MISSING_INPUT:egfr"),
    "born in a year, 29 or 30": ({"birth_date": "1996"}, "indeterminate", "MISSING_INPUT:age MISSING_INPUT:egfr"),
    "born in a year, 27 or 28": ({"birth_date": "1998"}, "not-applicable", "AGE_OUT_OF_RANGE MISSING_INPUT:egfr"),
    "sexes differ": ({"recorded_sexes": ("male",)}, "indeterminate", "INCONSISTENT:sex INCONSISTENT:egfr"),
    "sex other": ({"gender": "other"}, "not-applicable", "SEX_UNSUPPORTED"),
}


@pytest.mark.parametrize("case", PATIENTS)
def test_the_patient_decides_first(case: str, charts: "Charts") -> None:
    """Age, sex, death and identity take every output away, whatever the chart holds, and no fallback answers."""
    special, verdict, codes = PATIENTS[case]
    said = dict(special)
    if "deceased_at" in said:
        said["deceased_at"] = charts.ago(said["deceased_at"])
    if "birth_date" in said:
        said["birth_date"] = charts.date(said["birth_date"])
    report = charts.report("prevent", charts.record(*charts.complete(), patient=charts.patient(**said)))
    assert (report.verdict, {str(reason) for reason in report.reasons}) == (verdict, set(codes.split()))
    assert report.fallbacks == ()


def test_withholding_an_interval_of_ages_keeps_the_outputs_in_sight(charts: "Charts") -> None:
    """Where the age is not known, no horizon is left out in silence: all ten are withheld with the reason."""
    record = charts.record(*charts.complete(), patient=charts.patient(birth_date=charts.date("1967")))
    report = charts.report("prevent", record)
    assert (len(report.withheld), report.available) == (10, ())


SETTINGS = {
    # requested, stays (setting, days ago, hours) -> setting, source
    "requested": ("inpatient", [("ed", 0.1, None)], "inpatient", SettingSource.REQUEST),
    "an open ED visit": (None, [("ed", 0.1, None)], "ed", SettingSource.OPEN_ENCOUNTER),
    "a stay that ends later": (None, [("inpatient", 2, 100)], "inpatient", SettingSource.OPEN_ENCOUNTER),
    "a stay that has ended": (None, [("inpatient", 10, 100)], "ambulatory", SettingSource.MANIFEST_DEFAULT),
    "an open visit and an open ED visit": (None, [("ambulatory", 0.1, None), ("ed", 0.1, None)], "ed", SettingSource.OPEN_ENCOUNTER),
    "an open encounter of unknown class": (None, [(None, 0.1, None)], "ambulatory", SettingSource.MANIFEST_DEFAULT),
    "an open visit": (None, [("ambulatory", 0.1, None)], "ambulatory", SettingSource.OPEN_ENCOUNTER),
    "nothing": (None, [], "ambulatory", SettingSource.MANIFEST_DEFAULT),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_the_care_setting_is_asked_found_or_assumed(case: str, charts: "Charts") -> None:
    """The request decides, then the encounter open at the as-of time, then the manifest; the report says which."""
    requested, stays, setting, source = SETTINGS[case]
    record = charts.record(*(charts.stay(days, hours, where) for where, days, hours in stays))
    assert care_setting(requested, record, charts.as_of, charts.manifests["prevent"]) == (setting, source)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (GroupState.INCOMPLETE, "NOT_FETCHED:care_setting"),
        (GroupState.NOT_FETCHED, "NOT_FETCHED:care_setting"),
        (GroupState.NOT_ALLOWED, "NOT_ALLOWED:care_setting"),
    ],
)
@pytest.mark.parametrize("model", ["prevent", "ckdepi2021"])
@pytest.mark.parametrize("seen", ["a visit that is over", "an open visit"])
def test_encounters_that_did_not_all_arrive_leave_the_care_setting_unknown(
    state: GroupState, code: str, model: str, seen: str, charts: "Charts"
) -> None:
    """The page that is missing may hold the open ward stay: no number, no fallback, and the answer says why."""
    open_visit = [charts.stay(0.1, None)] if seen == "an open visit" else []
    entries = [entry for entry in charts.complete() if getattr(entry, "concepts", ()) != ("total_cholesterol",)]
    record = charts.record(*entries, *open_visit, groups={Group.ENCOUNTERS: state})
    report = charts.report(model, record)
    assert (report.verdict, report.available, report.fallbacks) == (Verdict.INDETERMINATE, (), ())
    assert code in map(str, report.reasons)


def test_a_stated_care_setting_or_an_open_ward_stay_needs_no_other_encounters(charts: "Charts") -> None:
    """What the caller says stands; a ward stay that did arrive is one, whatever else did not."""
    groups = {Group.ENCOUNTERS: GroupState.INCOMPLETE}
    stated = charts.report("ckdepi2021", charts.record(*charts.complete(), groups=groups), setting="ambulatory")
    ward = charts.report("prevent", charts.record(*charts.complete(), charts.stay(1, None, "inpatient"), groups=groups))
    assert (stated.verdict, ward.verdict) == (Verdict.SCORED, Verdict.NOT_APPLICABLE)


def test_a_stay_that_goes_on_without_a_beginning_is_open(charts: "Charts") -> None:
    """A ward stay in progress whose period nobody filled in is no ambulatory visit."""
    record = charts.record(charts.stay(1, None, "inpatient", start=None))
    assert care_setting(None, record, charts.as_of, charts.manifests["prevent"]) == ("inpatient", SettingSource.OPEN_ENCOUNTER)


@pytest.mark.parametrize("status", ["planned", "cancelled", "entered-in-error", "finished"])
def test_an_encounter_that_does_not_go_on_is_not_open(status: str, charts: "Charts") -> None:
    """A finished stay without an end is not a patient in bed."""
    record = charts.record(charts.stay(1, None, "inpatient", status=status))
    assert care_setting(None, record, charts.as_of, charts.manifests["prevent"])[0] == "ambulatory"


def test_an_open_ward_stay_withholds_an_outpatient_model_and_its_fallback(charts: "Charts") -> None:
    """PREVENT is no tool for the ward, and the score that stands in for it neither."""
    entries = [entry for entry in charts.complete() if getattr(entry, "concepts", ()) != ("total_cholesterol",)]
    report = charts.report("prevent", charts.record(*entries, charts.stay(2, None, "inpatient")))
    assert (report.verdict, report.fallbacks) == (Verdict.NOT_APPLICABLE, ())
    assert "CARE_SETTING" in {str(reason) for reason in report.reasons}


def test_the_setting_selects_the_age_limit(charts: "Charts") -> None:
    """A creatinine of three days ago is good in a clinic and stale on a ward."""
    record = charts.record(charts.lab("creatinine", 1.0, 3), charts.stay())
    assert charts.report("ckdepi2021", record).verdict == "scored"
    report = charts.report("ckdepi2021", record, setting="inpatient")
    assert [str(reason) for reason in report.reasons] == ["STALE_INPUT:creatinine"]


GROUPS = {
    # group, how it arrived -> verdict, codes that must be there
    "labs not fetched": (Group.LABORATORY, GroupState.NOT_FETCHED, "NOT_FETCHED:total_cholesterol NOT_FETCHED:egfr"),
    "labs incomplete": (Group.LABORATORY, GroupState.INCOMPLETE, "NOT_FETCHED:total_cholesterol NOT_FETCHED:egfr"),
    "labs not allowed": (Group.LABORATORY, GroupState.NOT_ALLOWED, "NOT_ALLOWED:total_cholesterol NOT_ALLOWED:egfr"),
    "vitals not fetched": (Group.VITAL_SIGNS, GroupState.NOT_FETCHED, "NOT_FETCHED:sbp NOT_FETCHED:bmi"),
    "conditions not fetched": (Group.CONDITIONS, GroupState.NOT_FETCHED, "NOT_FETCHED:prior_cvd NOT_FETCHED:diabetes"),
    "procedures not allowed": (Group.PROCEDURES, GroupState.NOT_ALLOWED, "NOT_ALLOWED:prior_cvd NOT_ALLOWED:egfr"),
    "medications not fetched": (Group.MEDICATIONS, GroupState.NOT_FETCHED, "NOT_FETCHED:statin"),
}


@pytest.mark.parametrize("case", GROUPS)
def test_what_could_not_be_seen_is_not_told_as_missing_and_opens_no_fallback(case: str, charts: "Charts") -> None:
    """Not measured, not fetched and not allowed are three different things (rules 3)."""
    group, state, codes = GROUPS[case]
    report = charts.report("prevent", charts.record(*charts.complete(), groups={group: state}))
    found = {str(reason) for reason in report.reasons}
    assert set(codes.split()) <= found
    assert not any(code.startswith("MISSING_INPUT") for code in found)
    assert report.fallbacks == ()
    assert report.verdict == ("scored-degraded" if group is Group.MEDICATIONS else "indeterminate")


def test_a_record_that_nobody_declared_complete_gives_no_estimate(charts: "Charts") -> None:
    """Its values can be read, but no absence can be concluded from it."""
    groups = dict.fromkeys(Group, GroupState.NOT_SEARCHED)
    report = charts.report("prevent", charts.record(*charts.complete(), groups=groups))
    assert report.verdict == "indeterminate"
    assert report.inputs["total_cholesterol"].state is InputState.VALID
    assert {"MISSING_INPUT:prior_cvd", "MISSING_INPUT:statin"} <= {str(reason) for reason in report.reasons}


def test_prior_disease_that_cannot_be_ruled_out_withholds_and_shuts_the_fallback(charts: "Charts") -> None:
    """Words that could mean an infarction are neither a yes nor a no."""
    entries = [entry for entry in charts.complete() if getattr(entry, "concepts", ()) != ("total_cholesterol",)]
    doubtful = charts.problem(possible_groups=frozenset({"prior_cvd"}), text="coronary something")
    report = charts.report("prevent", charts.record(*entries, doubtful))
    assert "INCONSISTENT:prior_cvd_unconfirmed" in {str(reason) for reason in report.reasons}
    assert (report.verdict, report.fallbacks) == (Verdict.INDETERMINATE, ())


def test_known_disease_is_said_in_words_that_nobody_reads_as_low_risk(charts: "Charts") -> None:
    """The reason carries the manifest's own words."""
    report = charts.report("prevent", charts.record(*charts.complete(), charts.problem("prior_cvd")))
    assert report.verdict is Verdict.NOT_APPLICABLE
    assert report.reasons[0].detail == "known cardiovascular disease, already above primary-prevention risk"


def test_a_fallback_may_stand_beside_the_outputs_that_are_left(charts: "Charts") -> None:
    """Without lipids heart failure is answered, and Framingham may stand beside it under its own name."""
    entries = [entry for entry in charts.complete() if getattr(entry, "concepts", ()) != ("total_cholesterol",)]
    report = charts.report("prevent", charts.record(*entries))
    assert (report.verdict, report.available) == (Verdict.SCORED_DEGRADED, ("heart_failure_10y", "heart_failure_30y"))
    assert report.fallbacks == ("framingham_bmi",)
    assert [str(reason) for reason in report.withheld["ascvd_10y"]] == ["MISSING_INPUT:total_cholesterol"]


def test_every_fallback_that_can_compute_may_answer_after_a_failed_run(charts: "Charts") -> None:
    """The runtime's failure opens the ladder's last rung."""
    manifest = charts.manifests["prevent"]
    report = charts.report("prevent", charts.record(*charts.complete()))
    assert (report.fallbacks, fallbacks_after_failure(manifest, report.inputs)) == ((), ("framingham_bmi",))


def test_a_range_may_bind_single_outputs_only(charts: "Charts") -> None:
    """An input outside the range of one output still serves the others."""
    manifest = charts.manifests["prevent"]
    inputs = tuple(
        msgspec.structs.replace(spec, model_range=Range(low=0, high=10, only_for=("stroke_10y",))) if spec.name == "sbp" else spec
        for spec in manifest.inputs
    )
    known = charts.report("prevent", charts.record(*charts.complete()))
    report = judge(
        msgspec.structs.replace(manifest, inputs=inputs), known.inputs, charts.patient(), charts.as_of, "ambulatory", SettingSource.REQUEST
    )
    assert list(report.withheld) == ["stroke_10y"]
    assert [str(reason) for reason in report.reasons] == ["VALUE_OUT_OF_MODEL_RANGE:sbp"]


def test_a_value_between_soft_and_hard_limit_is_answered_with_a_caution(charts: "Charts") -> None:
    """Older than the soft limit: CAUTION:old; older than the hard limit: stale."""
    manifest = charts.manifests["prevent"]
    spec = manifest.input("sbp")
    soft = msgspec.structs.replace(
        manifest,
        inputs=(
            *(other for other in manifest.inputs if other.name != "sbp"),
            msgspec.structs.replace(spec, age_days_soft={"ambulatory": 5}),
        ),
    )
    found = type(charts)(charts.terminology, {**charts.manifests, "prevent": soft})
    report = found.report("prevent", charts.record(*charts.complete()))
    assert [str(reason) for reason in report.reasons] == ["CAUTION:old:sbp"]


def test_a_concept_without_meaning_in_a_setting_is_not_applicable(charts: "Charts") -> None:
    """`n/a` in the column of the setting: the heart rate of months ago says nothing in a clinic."""
    manifest = charts.manifests["ckdepi2021"]
    spec = msgspec.structs.replace(
        manifest.input("creatinine"),
        unit="/min",
        age_days_max={},
        concept="heart_rate",
        feature=msgspec.structs.replace(manifest.input("creatinine").feature, concept="heart_rate"),
    )
    changed = msgspec.structs.replace(manifest, inputs=(*manifest.inputs[:2], spec))
    found = type(charts)(charts.terminology, {"ckdepi2021": changed})
    report = found.report("ckdepi2021", charts.record(charts.lab("heart_rate", 80.0, 1, unit="/min"), charts.stay()))
    assert (report.verdict, [str(reason) for reason in report.reasons]) == (Verdict.NOT_APPLICABLE, ["CARE_SETTING"])
