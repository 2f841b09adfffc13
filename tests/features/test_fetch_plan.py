"""The fetch plan holds what the models can use, and nothing else."""

from typing import TYPE_CHECKING

import pytest

from gateway.features.extract import concepts_of
from gateway.features.plan import compile_plan, features_of
from gateway.fhir.group import OBSERVATION_GROUPS, Group

if TYPE_CHECKING:
    from conftest import Charts


def _codes(charts: "Charts", *models: str) -> dict[Group, set[str]]:
    plan = compile_plan([charts.manifests[model] for model in models], charts.terminology)
    observed = [search for search in plan.searches if search.resource_type == "Observation"]
    return {search.group: set(dict(search.parameters)["code"].split(",")) for search in observed}


def test_there_is_at_most_one_search_for_each_group(charts: "Charts") -> None:
    """Six searches at a time are allowed; more would queue."""
    plan = compile_plan(charts.manifests.values(), charts.terminology)
    groups = [search.group for search in plan.searches]
    assert len(groups) == len(set(groups))
    assert plan.groups == frozenset(Group)


def test_the_equation_alone_asks_for_creatinine_and_reported_egfr_only(charts: "Charts") -> None:
    """Minimum necessary: no blood pressure, no smoking, no medication for an eGFR."""
    codes = _codes(charts, "ckdepi2021")
    assert set(codes) == {Group.LABORATORY}
    assert {"http://loinc.org|2160-0", "http://loinc.org|38483-4", "http://loinc.org|98979-8"} <= codes[Group.LABORATORY]
    assert "http://loinc.org|2093-3" not in codes[Group.LABORATORY]
    plan = compile_plan([charts.manifests["ckdepi2021"]], charts.terminology)
    assert Group.MEDICATIONS not in plan.groups


@pytest.mark.parametrize("panel", ["85354-9", "55284-4", "96607-7"])
def test_blood_pressure_is_asked_for_by_its_panels(panel: str, charts: "Charts") -> None:
    """The component's own code finds no panel."""
    assert f"http://loinc.org|{panel}" in _codes(charts, "prevent", "ckdepi2021")[Group.VITAL_SIGNS]


def test_every_code_a_feature_can_read_is_asked_for(charts: "Charts") -> None:
    """No declared input is left out of the pull, and no code is asked for that no input reads."""
    asked = set().union(*_codes(charts, *charts.manifests).values())
    concepts = {name for manifest in charts.manifests.values() for feature in features_of(manifest) for name in concepts_of(feature)}
    readable = {f"{code.system}|{code.code}" for name in concepts for code in charts.terminology.codes_for(name)}
    panels = {f"{code.system}|{code.code}" for code in charts.terminology.codes_for("bp_panel")}
    assert asked == readable | panels


def test_no_search_filters_by_date(charts: "Charts") -> None:
    """An old value must be seen as old, not as absent."""
    plan = compile_plan(charts.manifests.values(), charts.terminology)
    assert {name for search in plan.searches for name, _ in search.parameters} == {"code", "_include"}


def test_a_server_without_search_by_code_is_asked_by_category(charts: "Charts") -> None:
    """One search per category; smoking status may be filed as a survey."""
    plan = compile_plan(charts.manifests.values(), charts.terminology, "category")
    searches = {search.group: dict(search.parameters) for search in plan.searches if search.group in OBSERVATION_GROUPS}
    assert searches == {
        Group.VITAL_SIGNS: {"category": "vital-signs"},
        Group.LABORATORY: {"category": "laboratory"},
        Group.SOCIAL_HISTORY: {"category": "social-history,survey"},
    }


def test_medications_come_with_their_products(charts: "Charts") -> None:
    """An order may only reference its Medication."""
    plan = compile_plan(charts.manifests.values(), charts.terminology)
    search = next(search for search in plan.searches if search.group is Group.MEDICATIONS)
    assert (search.resource_type, search.parameters) == ("MedicationRequest", (("_include", "MedicationRequest:medication"),))
