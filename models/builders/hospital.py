"""The HOSPITAL score as a graph in float64.

Source: Donze JD, et al. JAMA Intern Med 2016;176(4):496-502, DOI 10.1001/jamainternmed.2015.8462 (first: 2013;173(8):632-638):

    haemoglobin below 12 g/dL 1; oncology 2; sodium below 135 mmol/L 1; any procedure 1; urgent admission 1; a stay of 5 days and more 2;
    admissions in the 12 months before: 0 to 1 / 2 to 5 / more: 0 / 2 / 5 (as in 2016; some summaries of 2013 have 0 / 1 to 5)

An input outside its limits, a fraction of a count, or an absent one makes the score NaN. Age decides who is eligible and is no part of it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.builders.graph import BOOL, DOUBLE, GraphUnderConstruction
from models.builders.points import is_within, nan_unless, number, points


class Item(NamedTuple):
    """One item: limits (closed), whether only whole numbers may stand, points at the lower end, and their change from each value on."""

    low: float
    high: float
    whole: bool
    points: float
    steps: tuple[tuple[float, float], ...]


# Limits of the laboratory values: plausible by the terminology's tables; of the counts: what can happen.
ITEMS = {
    "hemoglobin_discharge_g_dl": Item(2, 26, whole=False, points=1, steps=((12, -1),)),
    "oncology_service_or_active_cancer_0_1": Item(0, 1, whole=True, points=0, steps=((1, 2),)),
    "sodium_discharge_mmol_l": Item(95, 200, whole=False, points=1, steps=((135, -1),)),
    "procedure_0_1": Item(0, 1, whole=True, points=0, steps=((1, 1),)),
    "urgent_admission_0_1": Item(0, 1, whole=True, points=0, steps=((1, 1),)),
    "admissions_prev_12m": Item(0, 400, whole=True, points=0, steps=((2, 2), (6, 3))),
    "length_of_stay_days": Item(0, 40000, whole=False, points=0, steps=((5, 2),)),
}
UNUSED = "age_years"


def build(folder: Path) -> bytes:  # noqa: ARG001 - every builder has this form; the items stand here
    """Return the graph."""
    graph = GraphUnderConstruction("hospital")
    total = number(graph, "nothing", 0)
    for name, item in ITEMS.items():
        total = graph.node("Add", [total, _points(graph, name, item)], f"total_with_{name}")
    shape = graph.constant("one_column", np.array([-1, 1]))
    graph.node("Reshape", [total, shape], "score")
    graph.node("Not", [graph.node("IsNaN", ["score"], "withheld")], "applicable")
    doc = "HOSPITAL score, float64. DOI 10.1001/jamainternmed.2015.8462"
    return graph.serialise(dict.fromkeys((*ITEMS, UNUSED), DOUBLE), {"score": (DOUBLE, 1), "applicable": (BOOL, 1)}, doc)


def _points(graph: GraphUnderConstruction, name: str, item: Item) -> str:
    """Return the item's points, [N]; NaN where the input is not allowed."""
    allowed = is_within(graph, name, item.low, item.high)
    if item.whole:
        is_whole = graph.node("Equal", [name, graph.node("Floor", [name], f"{name}_floored")], f"{name}_is_whole")
        allowed = graph.node("And", [allowed, is_whole], f"{name}_is_allowed")
    return points(graph, nan_unless(graph, name, allowed), item.points, item.steps, name)
