"""NEWS2 as one graph in float64: the aggregate score, its seven sub-scores, and whether one of them is 3.

Source: Royal College of Physicians. National Early Warning Score (NEWS) 2. London: RCP, 2017, ISBN 978-1-86016-682-2. The chart is
defined on whole numbers and 0.1 Cel: rates, pressure and saturation are rounded to integers, temperature to one decimal, halves up, before
anything is scored. The variant is the SpO2 scale, 1 or 2. Whatever is absent or outside its limits poisons its own sub-score and the total,
and on scale 2 an absent oxygen status poisons the saturation's sub-score too. Age decides who is eligible and is no part of the formula.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.builders.graph import BOOL, DOUBLE, INT64, GraphUnderConstruction
from models.builders.points import is_within, nan_unless, number, points

TENTHS = 10.0
# Decimal halves such as 38.05 lie a hair below the half in binary: they are halves all the same.
HALF = 0.5 + 1e-9
SCALE_2 = 2


class Chart(NamedTuple):
    """One row of the chart: points at the lower end, and by how much they change from each value on. Limits: the terminology's, closed."""

    low: float
    high: float
    points: float
    steps: tuple[tuple[float, float], ...]
    per_unit: float = 1.0  # the chart's step: whole numbers, or tenths


CHART = {
    "respiratory_rate_per_min": Chart(3, 80, 3, ((9, -2), (12, -1), (21, 2), (25, 1))),
    "spo2_pct": Chart(30, 100, 3, ((92, -1), (94, -1), (96, -1))),
    "supplemental_oxygen_0_1": Chart(0, 1, 0, ((1, 2),)),
    "temperature_cel": Chart(25, 45, 3, ((351, -2), (361, -1), (381, 1), (391, 1)), TENTHS),
    "systolic_bp_mm_hg": Chart(40, 300, 3, ((91, -1), (101, -1), (111, -1), (220, 3))),
    "heart_rate_per_min": Chart(15, 300, 3, ((41, -2), (51, -1), (91, 1), (111, 1), (131, 1))),
    "consciousness_acvpu": Chart(0, 1, 0, ((1, 3),)),  # 0 alert; 1 new confusion, voice, pain, unresponsive
}
SPO2, OXYGEN = "spo2_pct", "supplemental_oxygen_0_1"
SPO2_SCALE_2_LOW = Chart(30, 100, 3, ((84, -1), (86, -1), (88, -1)))
SPO2_SCALE_2_ON_OXYGEN = Chart(30, 100, 0, ((93, 1), (95, 1), (97, 1)))  # on air 93 and more is 0
UNUSED = ("age_years", "hypercapnic_target_documented_0_1")
SCALE = "spo2_scale"


def build(folder: Path) -> bytes:  # noqa: ARG001 - every builder has this form; the chart stands here
    """Return the graph."""
    graph = GraphUnderConstruction("news2")
    rounded = {name: _rounded(graph, name, chart) for name, chart in CHART.items()}
    scored = {name: points(graph, rounded[name], chart.points, chart.steps, name) for name, chart in CHART.items()}
    scored[SPO2] = _on_its_scale(graph, rounded[SPO2], scored[SPO2], rounded[OXYGEN])
    shape = graph.constant("one_column", np.array([-1, 1]))
    columns = [graph.node("Reshape", [scored[name], shape], f"{name}_column") for name in CHART]
    parts = graph.node("Concat", columns, "parts", axis=1)
    last = graph.constant("last_axis", np.array([1]))
    total = graph.node("ReduceSum", [parts, last], "total", keepdims=1)
    reaches_3 = graph.node("Equal", [parts, graph.constant("three", np.array(3.0))], "reaches_3")
    threes = graph.node("ReduceMax", [graph.node("Cast", [reaches_3], "threes", to=DOUBLE), last], "any_3", keepdims=1)
    poison = graph.node("Sub", [total, total], "zero_or_nan")
    graph.node("Concat", [total, graph.node("Add", [threes, poison], "single_3"), parts], "score", axis=1)
    graph.node("Not", [graph.node("IsNaN", ["score"], "withheld")], "applicable")
    inputs = {**dict.fromkeys((*CHART, *UNUSED), DOUBLE), SCALE: INT64}
    width = len(CHART) + 2
    doc = "NEWS2, float64. RCP 2017, ISBN 978-1-86016-682-2"
    return graph.serialise(inputs, {"score": (DOUBLE, width), "applicable": (BOOL, width)}, doc)


def _rounded(graph: GraphUnderConstruction, name: str, chart: Chart) -> str:
    """Return the input in the chart's steps, rounded half up; NaN outside its limits."""
    allowed = nan_unless(graph, name, is_within(graph, name, chart.low, chart.high))
    scaled = graph.node("Mul", [allowed, number(graph, f"{name}_per_unit", chart.per_unit)], f"{name}_scaled")
    up = graph.node("Add", [scaled, number(graph, f"{name}_half", HALF)], f"{name}_up")
    return graph.node("Floor", [up], f"{name}_rounded")


def _on_its_scale(graph: GraphUnderConstruction, value: str, on_scale_1: str, oxygen: str) -> str:
    """Return the saturation's points on the scale that the variant names."""
    low = points(graph, value, SPO2_SCALE_2_LOW.points, SPO2_SCALE_2_LOW.steps, "spo2_scale_2")
    high = points(graph, value, SPO2_SCALE_2_ON_OXYGEN.points, SPO2_SCALE_2_ON_OXYGEN.steps, "spo2_scale_2_high")
    zero = number(graph, "no_points", 0)
    counts = graph.node("Greater", [high, zero], "spo2_above_target")  # only then does it matter whether there is oxygen
    on_oxygen = graph.node("Where", [counts, graph.node("Mul", [high, oxygen], "spo2_times_oxygen"), zero], "spo2_scale_2_on_oxygen")
    on_scale_2 = graph.node("Add", [low, on_oxygen], "spo2_on_scale_2")
    is_scale_2 = graph.node("Equal", [SCALE, graph.constant("scale_2", np.array(SCALE_2))], "is_scale_2")
    return graph.node("Where", [is_scale_2, on_scale_2, on_scale_1], "spo2_points")
