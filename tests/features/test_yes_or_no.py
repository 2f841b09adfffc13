"""Conditions, medications, smoking: "yes" when recorded, "no" only by the absence rule, else not known."""

from typing import TYPE_CHECKING

import pytest

from gateway.fhir.group import Group, GroupState
from gateway.record.values import SourceRef

if TYPE_CHECKING:
    from conftest import Charts

YES, NO = 1.0, 0.0


def _outcome(found: object) -> object:
    return found.value if found.usable else str(found.reasons[0])  # type: ignore[attr-defined]  # an InputValue


ABSENCE = {
    # group states, encounters (days ago), entries -> diabetes
    "everything searched, chart in use": ({}, [30], NO),
    "last encounter 25 months ago": ({}, [760], "MISSING_INPUT:diabetes"),
    "last encounter 23 months ago": ({}, [700], NO),
    "no encounter": ({}, [], "MISSING_INPUT:diabetes"),
    "conditions not fetched": ({Group.CONDITIONS: GroupState.NOT_FETCHED}, [30], "NOT_FETCHED:diabetes"),
    "conditions incomplete": ({Group.CONDITIONS: GroupState.INCOMPLETE}, [30], "NOT_FETCHED:diabetes"),
    "conditions not allowed": ({Group.CONDITIONS: GroupState.NOT_ALLOWED}, [30], "NOT_ALLOWED:diabetes"),
    "conditions not searched": ({Group.CONDITIONS: GroupState.NOT_SEARCHED}, [30], "MISSING_INPUT:diabetes"),
    "encounters not fetched, one is here": ({Group.ENCOUNTERS: GroupState.NOT_FETCHED}, [30], NO),
    "encounters not fetched, none is here": ({Group.ENCOUNTERS: GroupState.NOT_FETCHED}, [], "NOT_FETCHED:diabetes"),
    "encounters not allowed": ({Group.ENCOUNTERS: GroupState.NOT_ALLOWED}, [], "NOT_ALLOWED:diabetes"),
    "procedures not fetched do not matter for diabetes": ({Group.PROCEDURES: GroupState.NOT_FETCHED}, [30], NO),
}


@pytest.mark.parametrize("case", ABSENCE)
def test_no_is_concluded_only_from_a_whole_search_of_a_chart_in_use(case: str, charts: "Charts") -> None:
    """An empty list proves nothing by itself."""
    groups, visits, expected = ABSENCE[case]
    record = charts.record(*(charts.stay(days) for days in visits), groups=groups)
    assert _outcome(charts.extract("prevent", record)["diabetes"]) == expected


@pytest.mark.parametrize("state", [GroupState.INCOMPLETE, GroupState.NOT_SEARCHED, GroupState.COMPLETE])
def test_yes_needs_no_proof_of_anything_else(state: GroupState, charts: "Charts") -> None:
    """A recorded disease is recorded, however little else arrived."""
    record = charts.record(charts.problem("diabetes"), groups={Group.CONDITIONS: state})
    assert charts.extract("prevent", record)["diabetes"].value == YES


CONDITIONS = {
    # what is special about the one condition -> diabetes
    "active": ({"groups": frozenset({"diabetes"})}, YES),
    "resolved": ({"groups": frozenset({"diabetes"}), "active": False}, YES),
    "coded as prediabetes and as diabetes": ({"groups": frozenset({"diabetes", "diabetes_NOT"})}, "MISSING_INPUT:diabetes"),
    "prediabetes only": ({"groups": frozenset({"diabetes_NOT"}), "possible_groups": frozenset({"diabetes"})}, NO),
    "diabetes by its words only": ({"possible_groups": frozenset({"diabetes"})}, "MISSING_INPUT:diabetes"),
    "provisional": ({"groups": frozenset({"diabetes"}), "confirmed": False}, "MISSING_INPUT:diabetes"),
    "resolved, by its words only": ({"possible_groups": frozenset({"diabetes"}), "active": False}, "MISSING_INPUT:diabetes"),
    "without code and words": ({"text": "", "possible_groups": frozenset({"diabetes"})}, "MISSING_INPUT:diabetes"),
    "something else": ({"groups": frozenset({"hypertension"})}, NO),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_condition_counts_when_it_is_recognised_and_confirmed(case: str, charts: "Charts") -> None:
    """What could be the disease, but is not recognised, forbids a "no"."""
    special, expected = CONDITIONS[case]
    record = charts.record(charts.problem(**special), charts.stay())
    assert _outcome(charts.extract("prevent", record)["diabetes"]) == expected


EXCLUSIONS = {
    # model, exclusion, what is special about the one entry, days since recorded -> outcome
    "infarction years ago, resolved": ("prevent", "prior_cvd", {"groups": frozenset({"prior_cvd"}), "active": False}, 5000, YES),
    "bypass, as a procedure": ("prevent", "prior_cvd", {"groups": frozenset({"prior_cvd"}), "procedure": True}, 5000, YES),
    "by its words only": ("prevent", "prior_cvd", {"possible_groups": frozenset({"prior_cvd"})}, 10, "INCONSISTENT:prior_cvd_unconfirmed"),
    "suspected": (
        "prevent",
        "prior_cvd",
        {"groups": frozenset({"prior_cvd"}), "confirmed": False},
        10,
        "INCONSISTENT:prior_cvd_unconfirmed",
    ),
    "pregnant since 299 days": ("prevent", "pregnancy", {"groups": frozenset({"pregnancy"})}, 299, YES),
    "pregnant since 301 days": ("prevent", "pregnancy", {"groups": frozenset({"pregnancy"})}, 301, NO),
    "pregnancy over": ("prevent", "pregnancy", {"groups": frozenset({"pregnancy"}), "active": False}, 100, NO),
    "pregnancy without a date": ("prevent", "pregnancy", {"groups": frozenset({"pregnancy"})}, None, "MISSING_INPUT:pregnancy"),
    "kidney injury 89 days ago, resolved": ("ckdepi2021", "aki", {"groups": frozenset({"aki"}), "active": False}, 89, YES),
    "kidney injury 91 days ago": ("ckdepi2021", "aki", {"groups": frozenset({"aki"})}, 91, NO),
    "transplant, by its words only": (
        "ckdepi2021",
        "kidney_replacement",
        {"possible_groups": frozenset({"kidney_replacement"})},
        10,
        "INCONSISTENT:kidney_replacement_unconfirmed",
    ),
}


@pytest.mark.parametrize("case", EXCLUSIONS)
def test_an_exclusion_holds_is_ruled_out_or_cannot_be_judged(case: str, charts: "Charts") -> None:
    """Each exclusion has its own scope and window; what cannot be judged is said, and withholds later."""
    model, name, special, days, expected = EXCLUSIONS[case]
    record = charts.record(charts.problem(days=days, **special), charts.stay())
    assert _outcome(charts.extract(model, record)[name]) == expected


def test_a_pregnancy_that_ended_is_over_although_its_status_says_active(charts: "Charts") -> None:
    """A known end is stronger than a status nobody updated."""
    over = charts.problem("pregnancy", 200, abated=charts.ago(20))
    assert charts.extract("prevent", charts.record(over, charts.stay()))["pregnancy"].value == NO


def test_a_year_that_reaches_into_the_window_counts(charts: "Charts") -> None:
    """A kidney injury known to the year may lie within the last 90 days."""
    injury = charts.problem("aki", None, onset=charts.date("2026"))
    assert charts.extract("ckdepi2021", charts.record(injury, charts.stay()))["aki"].value == YES


@pytest.mark.parametrize(
    ("gender", "entry", "expected"),
    [
        ("male", "possible", NO),
        ("female", "possible", "MISSING_INPUT:pregnancy"),
        ("male", "certain", YES),
        (None, "possible", "MISSING_INPUT:pregnancy"),
    ],
)
def test_someone_whom_it_cannot_concern_needs_no_proof(gender: str | None, entry: str, expected: object, charts: "Charts") -> None:
    """A pregnancy that is really recorded counts all the same."""
    group = frozenset({"pregnancy"})
    problem = charts.problem(**({"groups": group} if entry == "certain" else {"possible_groups": group}))
    record = charts.record(problem, charts.stay(), patient=charts.patient(gender=gender))
    assert _outcome(charts.extract("prevent", record)["pregnancy"]) == expected


def test_procedures_that_were_not_searched_forbid_to_rule_out_prior_disease(charts: "Charts") -> None:
    """A bypass may be recorded as a procedure only."""
    record = charts.record(charts.stay(), groups={Group.PROCEDURES: GroupState.NOT_FETCHED})
    assert _outcome(charts.extract("prevent", record)["prior_cvd"]) == "NOT_FETCHED:prior_cvd"


ORDERS = {
    # (group, days since authored, what is special) -> statin
    "a current order": ([("statin", 30, {})], YES),
    "a stopped order": ([("statin", 30, {"active": False})], NO),
    "an ended statement": ([("statin", 30, {"ended": 10})], NO),
    "an active order of two years ago": ([("statin", 700, {})], "STALE_INPUT:statin"),
    "an old and a current order": ([("statin", 700, {}), ("statin", 30, {})], YES),
    "an undated order": ([("statin", None, {})], "MISSING_INPUT:statin"),
    "another drug": ([("antihypertensive", 30, {})], NO),
    "an unrecognised current product": ([("", 30, {"recognised": False})], "MISSING_INPUT:statin"),
    "an unrecognised undated product": ([("", None, {"recognised": False})], "MISSING_INPUT:statin"),
    "an unrecognised product of long ago": ([("", 700, {"recognised": False})], NO),
    "an unrecognised stopped product": ([("", 30, {"recognised": False, "active": False})], NO),
    "an unrecognised product beside a current statin": ([("", 30, {"recognised": False}), ("statin", 30, {})], YES),
    "no order at all": ([], NO),
}


@pytest.mark.parametrize("case", ORDERS)
def test_a_drug_is_taken_when_a_current_order_says_so(case: str, charts: "Charts") -> None:
    """Every current order must be recognised before anyone may say "no"; an old active one is neither a yes nor a no."""
    orders, expected = ORDERS[case]
    entries = []
    for group, days, special in orders:
        ended = {"ended": charts.ago(special["ended"])} if "ended" in special else {}
        entries.append(charts.order(group, days, **{**special, **ended}))
    assert _outcome(charts.extract("prevent", charts.record(charts.stay(), *entries))["statin"]) == expected


def test_unrecognised_orders_are_named(charts: "Charts") -> None:
    """Whoever reads the reason can look the products up."""
    unknown = [charts.order(recognised=False, text=name) for name in ("Zyx 5 mg", "Abc 10 mg")]
    found = charts.extract("prevent", charts.record(charts.stay(), *unknown))["statin"]
    assert found.reasons[0].detail == "current orders not recognised: Abc 10 mg, Zyx 5 mg"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (GroupState.NOT_FETCHED, "NOT_FETCHED:statin"),
        (GroupState.NOT_ALLOWED, "NOT_ALLOWED:statin"),
        (GroupState.NOT_SEARCHED, "MISSING_INPUT:statin"),
    ],
)
def test_medications_that_were_not_seen_prove_nothing(state: GroupState, expected: str, charts: "Charts") -> None:
    """Not fetched, not allowed and not searched stay apart."""
    record = charts.record(charts.stay(), groups={Group.MEDICATIONS: state})
    assert _outcome(charts.extract("prevent", record)["statin"]) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (GroupState.NOT_FETCHED, "NOT_FETCHED:statin"),
        (GroupState.INCOMPLETE, "NOT_FETCHED:statin"),
        (GroupState.NOT_ALLOWED, "NOT_ALLOWED:statin"),
        (GroupState.NOT_SEARCHED, NO),
    ],
)
def test_statements_that_were_asked_for_and_did_not_arrive_prove_nothing(state: GroupState, expected: object, charts: "Charts") -> None:
    """A home medication may stand in a MedicationStatement alone; a source that is said to have none is not asked."""
    record = charts.record(charts.stay(), groups={Group.MEDICATION_STATEMENTS: state})
    assert _outcome(charts.extract("prevent", record)["statin"]) == expected


SMOKING = {
    # (SNOMED code, days ago, what is special) -> smoker, cautions
    "daily": ([("449868002", 10, {})], YES, ""),
    "never": ([("266919005", 10, {})], NO, ""),
    "former": ([("8517006", 10, {})], NO, ""),
    "the newest counts": ([("8517006", 10, {}), ("449868002", 100, {})], NO, ""),
    "recorded as unknown": ([("266927001", 10, {})], "MISSING_INPUT:smoker", ""),
    "unknown, known before": ([("266927001", 10, {}), ("449868002", 100, {})], YES, "CAUTION:newer_unusable:smoker"),
    "an answer nobody knows": ([("123456", 10, {})], "MISSING_INPUT:smoker", ""),
    "preliminary": ([("449868002", 10, {"status": "preliminary"})], "MISSING_INPUT:smoker", ""),
    "undated": ([("449868002", None, {})], "MISSING_INPUT:smoker", ""),
    "two answers at once": ([("449868002", 10, {}), ("266919005", 10, {})], "INCONSISTENT:smoker", ""),
    "two answers at once, one corrected": (
        [("449868002", 10, {}), ("266919005", 10, {"status": "corrected"})],
        NO,
        "CAUTION:conflict:smoker",
    ),
    "two ways to say the same": ([("449868002", 10, {}), ("77176002", 10, {})], YES, ""),
    "nothing recorded": ([], "MISSING_INPUT:smoker", ""),
}


@pytest.mark.parametrize("case", SMOKING)
@pytest.mark.parametrize("order", ["as listed", "turned round"])
def test_smoking_is_the_newest_answer_that_says_something(case: str, order: str, charts: "Charts") -> None:
    """An "unknown" is not "no"; an answer outside the code groups is not "no" either."""
    answers, expected, cautions = SMOKING[case]
    entries = [charts.smoking(code, days, **special) for code, days, special in answers]
    found = charts.extract("prevent", charts.record(*(entries if order == "as listed" else reversed(entries))))["smoker"]
    assert _outcome(found) == expected
    assert " ".join(str(reason) for reason in found.reasons if not reason.withholds) == cautions


def test_an_answer_that_is_not_recognised_is_listed(charts: "Charts") -> None:
    """The code's own words stand in the reason."""
    found = charts.extract("prevent", charts.record(charts.smoking("123456", display="Sometimes on Sundays")))["smoker"]
    assert found.reasons[0].detail == "nothing usable: answer not recognised (Sometimes on Sundays)"


def test_codings_that_contradict_each_other_are_no_answer(charts: "Charts") -> None:
    """One Observation that says smoker and never smoked says neither."""
    yes, no = charts.smoking("449868002"), charts.smoking("266919005")
    both = charts.smoking("449868002", value_codes=(*yes.value_codes, *no.value_codes), source=SourceRef("Observation", "both"))
    assert _outcome(charts.extract("prevent", charts.record(both))["smoker"]) == "MISSING_INPUT:smoker"
