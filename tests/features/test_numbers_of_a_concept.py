"""Which number of a concept wins: tables of what a chart holds and what is used."""

from typing import TYPE_CHECKING

import pytest

from gateway.features.value import InputState
from gateway.fhir.group import Group, GroupState

if TYPE_CHECKING:
    from conftest import Charts

# (value, days ago, what is special) of each creatinine; what is used; codes
NEWEST = {
    "one value": ([(1.0, 10, {})], 1.0, "valid", ""),
    "the newest of two": ([(1.0, 10, {}), (2.0, 20, {})], 1.0, "valid", ""),
    "an SI unit": ([(88.4, 10, {"unit": "umol/L"})], 1.0, "valid", ""),
    "a preliminary one is newer": ([(9.0, 5, {"status": "preliminary"}), (1.0, 10, {})], 1.0, "valid", "CAUTION:newer_unusable:creatinine"),
    "a bound is newer": ([(9.0, 5, {"comparator": ">"}), (1.0, 10, {})], 1.0, "valid", "CAUTION:newer_unusable:creatinine"),
    "an impossible one is newer": ([(900.0, 5, {}), (1.0, 10, {})], 1.0, "valid", "CAUTION:newer_unusable:creatinine"),
    "an unknown unit is newer": ([(1.0, 5, {"unit": "furlong"}), (1.0, 10, {})], 1.0, "valid", "CAUTION:newer_unusable:creatinine"),
    "words are newer": ([(None, 5, {"value_text": "haemolysed"}), (1.0, 10, {})], 1.0, "valid", "CAUTION:newer_unusable:creatinine"),
    "a preliminary one is older": ([(9.0, 15, {"status": "preliminary"}), (1.0, 10, {})], 1.0, "valid", ""),
    "a retracted one is newer": ([(9.0, 5, {"status": "entered-in-error"}), (1.0, 10, {})], 1.0, "valid", ""),
    "a cancelled one is newer": ([(9.0, 5, {"status": "cancelled"}), (1.0, 10, {})], 1.0, "valid", ""),
    "an absent one is newer": ([(None, 5, {"absent_reason": "unknown"}), (1.0, 10, {})], 1.0, "valid", ""),
    "an undated one never wins": ([(9.0, None, {}), (1.0, 10, {})], 1.0, "valid", ""),
    "only an undated one": ([(9.0, None, {})], None, "missing", "MISSING_INPUT:creatinine"),
    "only a preliminary one": ([(9.0, 5, {"status": "preliminary"})], None, "missing", "MISSING_INPUT:creatinine"),
    "only an impossible one": ([(900.0, 5, {})], 900.0, "implausible", "IMPLAUSIBLE_VALUE:creatinine"),
    "an impossible and a preliminary one": (
        [(900.0, 5, {}), (1.0, 4, {"status": "preliminary"})],
        900.0,
        "implausible",
        "IMPLAUSIBLE_VALUE:creatinine",
    ),
    "nothing": ([], None, "missing", "MISSING_INPUT:creatinine"),
}

# (value, what is special) of each creatinine of one instant
SAME_INSTANT = {
    "the same number twice": ([(1.0, {}), (1.0, {})], 1.0, ""),
    "one result in two units, rounded": ([(1.0, {}), (88.0, {"unit": "umol/L"})], 1.0, ""),
    "different numbers": ([(1.0, {}), (2.0, {})], None, "INCONSISTENT:creatinine"),
    "slightly different numbers in one unit": ([(1.0, {}), (1.001, {})], None, "INCONSISTENT:creatinine"),
    "a corrected one beside a final one": ([(1.0, {}), (2.0, {"status": "corrected"})], 2.0, "CAUTION:conflict:creatinine"),
    "an amended one beside a final one": ([(2.0, {"status": "amended"}), (1.0, {})], 2.0, "CAUTION:conflict:creatinine"),
    "two corrections that agree": (
        [(2.0, {"status": "corrected"}), (1.0, {}), (2.0, {"status": "amended"})],
        2.0,
        "CAUTION:conflict:creatinine",
    ),
    "two corrections that differ": ([(2.0, {"status": "corrected"}), (3.0, {"status": "corrected"})], None, "INCONSISTENT:creatinine"),
}


@pytest.mark.parametrize("case", NEWEST)
def test_the_newest_usable_number_wins(case: str, charts: "Charts") -> None:
    """What cannot be used never wins, and is told when it is newer than what is used."""
    held, value, state, codes = NEWEST[case]
    record = charts.record(*(charts.lab("creatinine", number, days, **special) for number, days, special in held))
    found = charts.extract("ckdepi2021", record)["creatinine"]
    assert found.value == (pytest.approx(value) if value is not None else None)
    assert found.state == state
    assert " ".join(map(str, found.reasons)) == codes


@pytest.mark.parametrize("case", SAME_INSTANT)
@pytest.mark.parametrize("order", ["as listed", "turned round"])
def test_numbers_of_one_instant_are_decided_by_the_written_rule(case: str, order: str, charts: "Charts") -> None:
    """A conflict is decided by correction and issue time, never by order and never by a mean; what is left is INCONSISTENT."""
    held, value, codes = SAME_INSTANT[case]
    entries = [charts.lab("creatinine", number, 10, **special) for number, special in held]
    found = charts.extract("ckdepi2021", charts.record(*(entries if order == "as listed" else reversed(entries))))["creatinine"]
    assert (found.value, " ".join(map(str, found.reasons))) == (value, codes)


def test_the_newest_issued_number_of_one_instant_wins(charts: "Charts") -> None:
    """Without a correction the laboratory's last word counts; the other number stays in sight."""
    first = charts.lab("creatinine", 1.0, 10, issued=charts.ago(9))
    last = charts.lab("creatinine", 2.0, 10, issued=charts.ago(8))
    never = charts.lab("creatinine", 3.0, 10)
    found = charts.extract("ckdepi2021", charts.record(first, never, last))["creatinine"]
    assert found.value == 2.0
    assert found.reasons[0].detail == "also recorded: 1 mg/dL (Observation/o0001/_history/1), 3 mg/dL (Observation/o0003/_history/1)"


def test_a_conflict_shows_all_its_numbers(charts: "Charts") -> None:
    """A person who is told of a conflict can find both resources."""
    record = charts.record(charts.lab("creatinine", 1.0, 10), charts.lab("creatinine", 2.0, 10))
    found = charts.extract("ckdepi2021", record)["creatinine"]
    assert found.state is InputState.INCONSISTENT
    assert [proof.raw_value for proof in found.evidence] == [1.0, 2.0]
    assert found.value is None


def test_evidence_keeps_number_and_unit_as_received(charts: "Charts") -> None:
    """The converted value rests on a resource whose raw number, unit, time and version can be shown."""
    record = charts.record(charts.lab("creatinine", 88.4, 10, unit="umol/L"))
    found = charts.extract("ckdepi2021", record)["creatinine"]
    proof = found.evidence[0]
    assert (found.value, found.unit) == (pytest.approx(1.0), "mg/dL")
    assert (proof.raw_value, proof.raw_unit, proof.time) == (88.4, "umol/L", charts.ago(10).at)
    assert proof.source.reference == "Observation/o0001/_history/1"


@pytest.mark.parametrize(
    ("state", "expected", "code"),
    [
        (GroupState.COMPLETE, InputState.VALID, ""),
        (GroupState.NOT_SEARCHED, InputState.VALID, ""),
        (GroupState.INCOMPLETE, InputState.NOT_FETCHED, "NOT_FETCHED:creatinine"),
        (GroupState.NOT_FETCHED, InputState.NOT_FETCHED, "NOT_FETCHED:creatinine"),
        (GroupState.NOT_ALLOWED, InputState.NOT_ALLOWED, "NOT_ALLOWED:creatinine"),
    ],
)
def test_a_value_of_a_group_that_is_not_whole_is_not_used(state: GroupState, expected: InputState, code: str, charts: "Charts") -> None:
    """A newer value may be missing from an incomplete group; one that nobody was asked to search may be used for what it holds."""
    record = charts.record(charts.lab("creatinine", 1.0), groups={Group.LABORATORY: state})
    found = charts.extract("ckdepi2021", record)["creatinine"]
    assert (found.state, " ".join(map(str, found.reasons))) == (expected, code)


def test_nothing_in_a_group_that_nobody_searched_is_missing(charts: "Charts") -> None:
    """An inline record that is not declared complete proves no absence, but the input is missing all the same."""
    record = charts.record(groups={Group.LABORATORY: GroupState.NOT_SEARCHED})
    assert charts.extract("ckdepi2021", record)["creatinine"].state is InputState.MISSING


PAIRS = {
    # TC (value, date), HDL (value, date); used TC and HDL
    "one date": ([(200, "2026-05-01")], [(50, "2026-05-01")], 200, 50),
    "the newest date that has both": (
        [(200, "2026-05-01"), (190, "2026-04-01")],
        [(50, "2026-04-01"), (45, "2026-03-01")],
        190,
        50,
    ),
    "morning and evening of one date": ([(200, "2026-05-01T08:00:00+02:00")], [(50, "2026-05-01T23:30:00+02:00")], 200, 50),
    "one date in the laboratory's own zone, two in UTC": (
        [(200, "2026-05-01T00:30:00+02:00")],
        [(50, "2026-05-01T10:00:00+02:00")],
        200,
        50,
    ),
    "no common date": ([(200, "2026-05-01")], [(50, "2026-04-01")], None, None),
    "a month is no date": ([(200, "2026-05")], [(50, "2026-05")], None, None),
    "no HDL at all": ([(200, "2026-05-01"), (190, "2026-04-01")], [], 200, None),
    "no TC at all": ([], [(50, "2026-05-01")], None, 50),
}


@pytest.mark.parametrize("case", PAIRS)
def test_lipids_are_used_as_a_pair_of_one_date(case: str, charts: "Charts") -> None:
    """Total and HDL cholesterol of different days say nothing about non-HDL cholesterol."""
    totals, hdls, total, hdl = PAIRS[case]
    entries = [charts.lab("total_cholesterol", float(value), time=charts.date(date)) for value, date in totals]
    entries += [charts.lab("hdl_cholesterol", float(value), time=charts.date(date)) for value, date in hdls]
    found = charts.extract("prevent", charts.record(*entries))
    assert (found["total_cholesterol"].value, found["hdl_cholesterol"].value) == (total, hdl)


MEANS = {
    # (value, days ago); mean, oldest used
    "three newest of five": ([(120, 1), (130, 2), (140, 3), (200, 4), (200, 5)], 130, 3),
    "fewer than three": ([(120, 1), (130, 2)], 125, 2),
    "older than the limit does not count": ([(120, 1), (190, 400)], 120, 1),
    "all older than the limit: the newest, to be judged stale": ([(120, 400), (130, 500)], 120, 400),
}


@pytest.mark.parametrize("case", MEANS)
def test_blood_pressure_is_the_mean_of_the_newest_readings(case: str, charts: "Charts") -> None:
    """Up to three readings within the look-back; the time is that of the oldest one used."""
    readings, mean, oldest = MEANS[case]
    visit = charts.stay(source=charts.lab("sbp", 1.0).source)
    entries = [charts.lab("sbp", float(value), days, encounter_id=visit.source.id) for value, days in readings]
    found = charts.extract("prevent", charts.record(visit, *entries))["sbp"]
    assert (found.value, found.time, found.reasons) == (mean, charts.ago(oldest).at, ())


WHERE_MEASURED = {
    # which stays there are, which of them the reading names, whether it is used, whether with a caution
    "in a clinic visit": ([("ambulatory", 10, 2)], 0, True, False),
    "in an emergency department": ([("ed", 10, 5)], 0, False, False),
    "on a ward": ([("inpatient", 12, 100)], 0, False, False),
    "nowhere said, no stay covers it": ([("ed", 300, 5)], None, True, True),
    "nowhere said, an ED stay covers it": ([("ed", 10.1, 5)], None, False, False),
    "nowhere said, an open ward stay covers it": ([("inpatient", 12, None)], None, False, False),
    "in an encounter of unknown class": ([(None, 10, 2)], 0, True, True),
    "in an encounter of unknown class during a ward stay": ([(None, 10, 2), ("inpatient", 12, 100)], 0, False, False),
}


@pytest.mark.parametrize("case", WHERE_MEASURED)
def test_only_outpatient_blood_pressure_counts(case: str, charts: "Charts") -> None:
    """The encounter decides; without one an ED or inpatient stay that covers the time; without either it counts with a caution."""
    stays, named, used, caution = WHERE_MEASURED[case]
    built = [charts.stay(days, hours, setting) for setting, days, hours in stays]
    reading = charts.lab("sbp", 130.0, 10, encounter_id=built[named].source.id if named is not None else None)
    found = charts.extract("prevent", charts.record(reading, *built))["sbp"]
    assert found.usable is used
    assert [str(reason) for reason in found.reasons] == (
        ["CAUTION:setting_unknown:sbp"] if caution else [] if used else ["MISSING_INPUT:sbp"]
    )


def test_a_reading_known_to_the_day_of_an_emergency_visit_is_not_used(charts: "Charts") -> None:
    """A date without a time may lie inside the stay of that day."""
    reading = charts.lab("sbp", 130.0, time=charts.date("2026-06-05"))
    stay = charts.stay(setting="ed", start=charts.date("2026-06-05T14:00:00+00:00"), end=charts.date("2026-06-05T18:00:00+00:00"))
    assert not charts.extract("prevent", charts.record(reading, stay))["sbp"].usable


BODIES = {
    # a BMI, a weight and a height, each with its age in days; then what is used and its state
    "a measured BMI": ((28.0, 10), (80.0, 10), (170.0, 10), 28.0, "valid"),
    "from weight and height": (None, (80.0, 10), (170.0, 10), 27.6817, "valid"),
    "from a height of nine years ago": (None, (80.0, 10), (170.0, 3300), 27.6817, "valid"),
    "from a height of eleven years ago": (None, (80.0, 10), (170.0, 4000), 27.6817, "stale"),
    "from a weight of two years ago": (None, (80.0, 700), (170.0, 700), 27.6817, "stale"),
    "an old BMI beside a new weight": ((28.0, 700), (80.0, 10), (170.0, 10), 27.6817, "valid"),
    "an old BMI alone": ((28.0, 700), None, None, 28.0, "stale"),
    "no height": (None, (80.0, 10), None, None, "missing"),
    "an impossible weight": (None, (1000.0, 10), (170.0, 10), None, "implausible"),
    "plausible parts, impossible whole": (None, (300.0, 10), (60.0, 10), 833.3333, "implausible"),
}


@pytest.mark.parametrize("case", BODIES)
def test_body_mass_index_is_measured_or_computed(case: str, charts: "Charts") -> None:
    """A measured one first; else weight and height, each with its own age limit."""
    bmi, weight, height, value, state = BODIES[case]
    given = zip(("bmi", "weight", "height"), (bmi, weight, height), strict=True)
    entries = [charts.lab(concept, number, days) for concept, pair in given if pair for number, days in [pair]]
    found = charts.report("prevent", charts.record(*entries)).inputs["bmi"]
    assert found.value == (pytest.approx(value, abs=1e-4) if value is not None else None)
    assert found.state == state


def test_a_computed_value_shows_both_its_parts(charts: "Charts") -> None:
    """The basis of a BMI is the weight and the height; its time is the older of the two."""
    record = charts.record(charts.lab("weight", 80.0, 10), charts.lab("height", 170.0, 900))
    found = charts.extract("prevent", record)["bmi"]
    assert [proof.raw_unit for proof in found.evidence] == ["kg", "cm"]
    assert (found.time, found.aged_from) == (charts.ago(900).at, charts.ago(10).at)


def test_an_impossible_measured_bmi_that_is_newer_is_told(charts: "Charts") -> None:
    """The computed one stands in, and the answer says that a newer value could not be used."""
    record = charts.record(charts.lab("bmi", 400.0, 5), charts.lab("weight", 80.0, 10), charts.lab("height", 170.0, 10))
    found = charts.extract("prevent", record)["bmi"]
    assert found.usable
    assert [str(reason) for reason in found.reasons] == ["CAUTION:newer_unusable:bmi"]
