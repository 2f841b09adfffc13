"""KFRE, the kidney failure risk equation with 4 and with 8 variables, as one graph in float64.

Source: Tangri N, Stevens LA, Griffith J, et al. JAMA 2011;305(15):1553-1559, DOI 10.1001/jama.2011.451 (coefficients); Tangri N, Grams ME,
Levey AS, et al. JAMA 2016;315(2):164-174, DOI 10.1001/jama.2015.18202 (baselines by region):

    risk = 1 - S0 ^ exp(sum of coefficient * (term - centre))

A column outside its limits is NaN (`>=` is false for NaN), and so is every sum that uses it; the 4-variable form does not use the four
additional columns, whatever stands in them. An unknown variant selects coefficients of NaN.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.builders.graph import BOOL, DOUBLE, INT64, GraphUnderConstruction

VARIANTS = ("kfre4", "kfre8")  # `variant` = place in this list
REGIONS = ("elsewhere", "north_america")  # `region` = place in this list
BELOW_60 = np.nextafter(60.0, 0.0)  # the largest float64 below 60
SMALLEST = np.nextafter(0.0, 1.0)  # the smallest float64 above 0

# One routine for every row, whatever the batch: see the builder of the graph with the same constant for why 8.
VECTOR_WIDTH = 8


class Term(NamedTuple):
    """One column: limits (closed; of the data sheet, else plausible by the terminology), scale, centre, coefficients."""

    low: float
    high: float
    per: float
    centre: float
    of_four: float
    of_eight: float
    whole: bool = False


TERMS = {
    "age_years": Term(18, 130, 10, 7.036, -0.2201, -0.1992),
    "sex": Term(0, 1, 1, 0.5642, 0.2467, 0.1602, whole=True),  # 0 female, 1 male
    "egfr_ml_min_1_73m2": Term(SMALLEST, BELOW_60, 5, 7.222, -0.5567, -0.4919),
    "uacr_mg_g": Term(SMALLEST, 25000, 1, 5.137, 0.4510, 0.3364),  # enters as its natural logarithm
    "albumin_g_dl": Term(0.5, 8, 1, 3.997, 0.0, -0.3441),
    "phosphate_mg_dl": Term(0.3, 20, 1, 3.916, 0.0, 0.2604),
    "bicarbonate_mmol_l": Term(3, 60, 1, 25.57, 0.0, -0.07354),
    "calcium_mg_dl": Term(3, 20, 1, 9.355, 0.0, -0.2228),
}
LOGARITHM = "uacr_mg_g"
# Survival without kidney failure at the centre of every term: [variant][region], 2 and 5 years.
BASELINES = {
    "kfre4": {"elsewhere": (0.9832, 0.9365), "north_america": (0.9750, 0.9240)},
    "kfre8": {"elsewhere": (0.9827, 0.9245), "north_america": (0.9780, 0.9301)},
}


def build(folder: Path) -> bytes:  # noqa: ARG001 - every builder has this form; the table is short and stands here
    """Return the graph."""
    graph = GraphUnderConstruction("kfre")
    terms = _terms(graph)
    row = _row_of_variant(graph)
    coefficients = graph.node("Gather", [_coefficients(graph), row], "coefficient", axis=0)
    unused = graph.node("Equal", [coefficients, graph.constant("zero", np.array(0.0))], "unused")
    product = graph.node("Mul", [coefficients, terms], "product")
    graph.node("Where", [unused, "zero", product], "contribution")
    graph.node("ReduceSum", ["contribution", graph.constant("last_axis", np.array([1]))], "linear_predictor", keepdims=1)
    repeated = graph.constant("repeated", np.zeros((1, VECTOR_WIDTH)))
    hazard = graph.node("Exp", [graph.node("Add", ["linear_predictor", repeated], "predictor_repeated")], "hazards")
    first = graph.node("Gather", [hazard, graph.constant("first_place", np.array([0]))], "hazard", axis=1)
    exponent = graph.node("Mul", [first, _log_baselines(graph, row)], "exponent")
    width = graph.constant("by_width", np.zeros((1, VECTOR_WIDTH - 2)))
    padded = graph.node("Concat", [exponent, graph.node("Mul", [first, width], "padding")], "exponent_padded", axis=1)
    survivals = graph.node("Exp", [padded], "survivals")
    survival = graph.node("Gather", [survivals, graph.constant("two_places", np.array([0, 1]))], "survival", axis=1)
    graph.node("Sub", [graph.constant("one", np.array(1.0)), survival], "risk")
    graph.node("Not", [graph.node("IsNaN", ["risk"], "withheld")], "applicable")
    inputs = {**dict.fromkeys(TERMS, DOUBLE), "region": DOUBLE, "variant": INT64}
    doc = "KFRE, 4 and 8 variables, 2 and 5 years, float64. DOI 10.1001/jama.2011.451, 10.1001/jama.2015.18202"
    return graph.serialise(inputs, {"risk": (DOUBLE, 2), "applicable": (BOOL, 2)}, doc)


def _terms(graph: GraphUnderConstruction) -> str:
    """Return `term - centre` in the order of TERMS, [N, terms]; what is outside its limits is NaN."""
    terms = list(TERMS.values())
    graph.node("Concat", list(TERMS), "one_after_another", axis=0)
    graph.node("Reshape", ["one_after_another", graph.constant("by_column", np.array([len(TERMS), -1]))], "column_first")
    columns = graph.node("Transpose", ["column_first"], "columns")
    not_below = graph.node(
        "GreaterOrEqual", [columns, graph.constant("lowest", np.array([float(term.low) for term in terms]))], "not_below"
    )
    not_above = graph.node("LessOrEqual", [columns, graph.constant("highest", np.array([float(term.high) for term in terms]))], "not_above")
    whole = graph.node("Equal", [columns, graph.node("Floor", [columns], "floored")], "is_whole")
    right_kind = graph.node("Or", [whole, graph.constant("any_number", np.array([not term.whole for term in terms]))], "right_kind")
    in_range = graph.node("And", [not_below, not_above], "in_range")
    is_allowed = graph.node("And", [in_range, right_kind], "is_allowed")
    allowed = graph.node("Where", [is_allowed, columns, graph.constant("nan", np.array(np.nan))], "allowed")
    place = list(TERMS).index(LOGARITHM)
    of_logarithm = graph.node("Gather", [allowed, graph.constant("logarithm_places", np.array([place] * VECTOR_WIDTH))], "of_log", axis=1)
    logarithms = graph.node("Log", [of_logarithm], "logarithms")
    every = graph.constant("every_term", np.array([0] * len(TERMS)))
    logarithm = graph.node("Gather", [logarithms, every], "logarithm", axis=1)
    is_logarithm = graph.constant("is_logarithm", np.array([name == LOGARITHM for name in TERMS]))
    scaled = graph.node("Div", [allowed, graph.constant("per", np.array([float(term.per) for term in terms]))], "scaled")
    values = graph.node("Where", [is_logarithm, logarithm, scaled], "values")
    return graph.node("Sub", [values, graph.constant("centre", np.array([term.centre for term in terms]))], "centred")


def _row_of_variant(graph: GraphUnderConstruction) -> str:
    """Return the place of a row's variant in tables that begin and end with a row of NaN for an unknown one."""
    bounds = [graph.constant("below_first", np.array(-1)), graph.constant("after_last", np.array(len(VARIANTS)))]
    known = graph.node("Clip", ["variant", *bounds], "known")
    return graph.node("Add", [known, graph.constant("first", np.array(1))], "row")


def _coefficients(graph: GraphUnderConstruction) -> str:
    table = np.array([[term.of_four for term in TERMS.values()], [term.of_eight for term in TERMS.values()]])
    unknown = np.full((1, len(TERMS)), np.nan)
    return graph.constant("coefficients", np.concatenate([unknown, table, unknown]))


def _log_baselines(graph: GraphUnderConstruction, row: str) -> str:
    """Return ln S0 of each row's variant and region, [N, horizons]; NaN for a region that is neither 0 nor 1."""
    unknown = np.full((1, 2), np.nan)
    by_region = []
    for region in REGIONS:
        table = np.concatenate([unknown, np.log(np.array([BASELINES[variant][region] for variant in VARIANTS])), unknown])
        by_region.append(graph.node("Gather", [graph.constant(f"baselines_{region}", table), row], f"baseline_{region}", axis=0))
    column = graph.node("Reshape", ["region", graph.constant("one_column", np.array([-1, 1]))], "region_column")
    is_elsewhere = graph.node("Equal", [column, graph.constant("elsewhere", np.array(0.0))], "is_elsewhere")
    is_north_america = graph.node("Equal", [column, graph.constant("north_america", np.array(1.0))], "is_north_america")
    known_region = graph.node("Where", [is_north_america, by_region[1], "nan"], "baseline_north_america_or_none")
    return graph.node("Where", [is_elsewhere, by_region[0], known_region], "log_baseline")
