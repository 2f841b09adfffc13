"""MELD 3.0 as one graph in float64: the score, its unrounded value, the chance to survive 90 days and the risk of death within them.

Source: Kim WR, Mannalithara A, Heimbach JK, et al. MELD 3.0: The Model for End-Stage Liver Disease Updated for the Modern Era.
Gastroenterology 2021;161(6):1887-1895.e4, DOI 10.1053/j.gastro.2021.08.050; OPTN policy 9 since July 2023:

    raw = 1.33 * female + 4.56 ln(bili) + 0.82 (137 - Na) - 0.24 (137 - Na) ln(bili) + 9.09 ln(INR) + 11.14 ln(Cr)
        + 1.85 (3.5 - Alb) - 1.83 (3.5 - Alb) ln(Cr) + 6
    score = raw rounded half up, limited to 6..40; survival = 0.946 ^ exp(0.17698 raw - 3.56) where 6 <= raw <= 40

with bilirubin, INR >= 1; creatinine 1..3, 3 under dialysis; sodium 125..137; albumin 1.5..3.5. From 12 to 17 years both sexes get the 1.33,
and nothing but the score is given. An input outside its limits, or absent, makes everything NaN (`>=` is false for NaN).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.builders.graph import BOOL, DOUBLE, GraphUnderConstruction
from models.builders.points import number

ADULT_FROM_YEARS = 18.0
RAW_LOWEST, RAW_HIGHEST = 6.0, 40.0  # of the score, and of the survival formula
SURVIVAL_AT_ZERO, PER_POINT, OFFSET = 0.946, 0.17698, -3.56
CREATININE_UNDER_DIALYSIS_MG_DL = 3.0
VECTOR_WIDTH = 8  # one routine for every row, whatever the batch: see the builder with the same constant for why 8


class Column(NamedTuple):
    """One input: plausible by the terminology (age: from 12 years on), and the bounds that the formula puts first."""

    low: float
    high: float
    bound_low: float
    bound_high: float
    whole: bool = False


COLUMNS = {
    "age_years": Column(12, 130, 0, 130),
    "sex": Column(0, 1, 0, 1, whole=True),  # 0 female, 1 male
    "bilirubin_mg_dl": Column(0.05, 80, 1, 80),
    "sodium_mmol_l": Column(95, 200, 125, 137),
    "inr": Column(0.5, 20, 1, 20),
    "creatinine_mg_dl": Column(0.1, 40, 1, 3),
    "albumin_g_dl": Column(0.5, 8, 1.5, 3.5),
    "dialysis_2x_7d_0_1": Column(0, 1, 0, 1, whole=True),
}


def build(folder: Path) -> bytes:  # noqa: ARG001 - every builder has this form; the few coefficients stand here
    """Return the graph."""
    graph = GraphUnderConstruction("meld3")
    columns = _bounded(graph)
    is_adult = graph.node("GreaterOrEqual", [columns["age_years"], number(graph, "adult_from", ADULT_FROM_YEARS)], "is_adult")
    raw = _raw(graph, columns, is_adult)
    rounded = graph.node("Floor", [graph.node("Add", [raw, number(graph, "half", 0.5)], "raw_and_half")], "rounded")
    lowest, highest = number(graph, "lowest_score", RAW_LOWEST), number(graph, "highest_score", RAW_HIGHEST)
    score = graph.node("Clip", [rounded, lowest, highest], "score")
    nan = number(graph, "nan", np.nan)
    adult_raw = graph.node("Where", [is_adult, raw, nan], "adult_raw")
    not_below = graph.node("GreaterOrEqual", [adult_raw, lowest], "not_below")
    inside = graph.node("And", [not_below, graph.node("LessOrEqual", [adult_raw, highest], "not_above")], "inside")
    survival = _survival(graph, graph.node("Where", [inside, adult_raw, nan], "raw_of_survival"))
    death = graph.node("Sub", [number(graph, "one", 1.0), survival], "death")
    graph.node("Concat", [score, adult_raw, survival, death], "result", axis=1)
    graph.node("Not", [graph.node("IsNaN", ["result"], "withheld")], "applicable")
    doc = "MELD 3.0, float64. DOI 10.1053/j.gastro.2021.08.050"
    return graph.serialise(dict.fromkeys(COLUMNS, DOUBLE), {"result": (DOUBLE, 4), "applicable": (BOOL, 4)}, doc)


def _bounded(graph: GraphUnderConstruction) -> dict[str, str]:
    """Return every input within the formula's bounds, each [N, 1]; all of them NaN where one is absent or not allowed."""
    limits = list(COLUMNS.values())
    graph.node("Concat", list(COLUMNS), "one_after_another", axis=0)
    graph.node("Reshape", ["one_after_another", graph.constant("by_column", np.array([len(COLUMNS), -1]))], "column_first")
    columns = graph.node("Transpose", ["column_first"], "columns")

    def row(name: str, values: list[float]) -> str:
        return graph.constant(name, np.array(values, dtype=np.float64))

    not_below = graph.node("GreaterOrEqual", [columns, row("lowest", [limit.low for limit in limits])], "column_not_below")
    not_above = graph.node("LessOrEqual", [columns, row("highest", [limit.high for limit in limits])], "column_not_above")
    whole = graph.node("Equal", [columns, graph.node("Floor", [columns], "floored")], "is_whole")
    right_kind = graph.node("Or", [whole, graph.constant("any_number", np.array([not limit.whole for limit in limits]))], "right_kind")
    is_allowed = graph.node("And", [graph.node("And", [not_below, not_above], "in_range"), right_kind], "is_allowed")
    allowed = graph.node("Where", [is_allowed, columns, row("nan_row", [np.nan] * len(limits))], "allowed")
    poison = graph.node("ReduceSum", [allowed, graph.constant("last_axis", np.array([1]))], "sum_of_all", keepdims=1)
    nothing = graph.node("Sub", [poison, poison], "zero_or_nan")  # 0 where every input is allowed, else NaN
    low, high = row("bound_low", [limit.bound_low for limit in limits]), row("bound_high", [limit.bound_high for limit in limits])
    clipped = graph.node("Min", [graph.node("Max", [allowed, low], "clipped_below"), high], "clipped")
    bounded = graph.node("Add", [clipped, nothing], "bounded")
    found = {}
    for place, name in enumerate(COLUMNS):
        found[name] = graph.node("Gather", [bounded, graph.constant(f"{name}_place", np.array([place]))], f"{name}_bounded", axis=1)
    return found


def _raw(graph: GraphUnderConstruction, columns: dict[str, str], is_adult: str) -> str:
    """Return the unrounded value, [N, 1]."""
    dialysed = graph.node("Equal", [columns["dialysis_2x_7d_0_1"], number(graph, "yes", 1.0)], "dialysed")
    under_dialysis = number(graph, "creatinine_under_dialysis", CREATININE_UNDER_DIALYSIS_MG_DL)
    creatinine = graph.node("Where", [dialysed, under_dialysis, columns["creatinine_mg_dl"]], "creatinine_counted")
    ln_bilirubin = logarithm(graph, columns["bilirubin_mg_dl"], "bilirubin")
    ln_inr = logarithm(graph, columns["inr"], "inr")
    ln_creatinine = logarithm(graph, creatinine, "creatinine")
    below_137 = graph.node("Sub", [number(graph, "sodium_highest", 137.0), columns["sodium_mmol_l"]], "below_137")
    below_35 = graph.node("Sub", [number(graph, "albumin_highest", 3.5), columns["albumin_g_dl"]], "below_35")
    is_female = graph.node("Equal", [columns["sex"], number(graph, "female", 0.0)], "is_female")
    gets_female_term = graph.node("Or", [is_female, graph.node("Not", [is_adult], "is_minor")], "gets_female_term")
    female = graph.node("Cast", [gets_female_term], "female_term", to=DOUBLE)
    terms = (
        (1.33, female),
        (4.56, ln_bilirubin),
        (0.82, below_137),
        (-0.24, graph.node("Mul", [below_137, ln_bilirubin], "sodium_by_bilirubin")),
        (9.09, ln_inr),
        (11.14, ln_creatinine),
        (1.85, below_35),
        (-1.83, graph.node("Mul", [below_35, ln_creatinine], "albumin_by_creatinine")),
    )
    total = number(graph, "intercept", 6.0)
    for place, (coefficient, term) in enumerate(terms):
        weighted = graph.node("Mul", [number(graph, f"coefficient_{place}", coefficient), term], f"weighted_{place}")
        total = graph.node("Add", [total, weighted], f"total_{place}")
    # A comparison is false for NaN, so the female term of an absent sex or age is a number; the other terms are not: see `_bounded`.
    return total


def _survival(graph: GraphUnderConstruction, raw: str) -> str:
    """Return `0.946 ^ exp(0.17698 raw - 3.56)` as `exp(exp(...) * ln 0.946)`, [N, 1]."""
    slope, offset = number(graph, "per_point", PER_POINT), number(graph, "offset", OFFSET)
    exponent = graph.node("Add", [graph.node("Mul", [slope, raw], "sloped"), offset], "exponent")
    log_base = number(graph, "log_survival_at_zero", float(np.log(SURVIVAL_AT_ZERO)))
    return exponential(graph, graph.node("Mul", [exponential(graph, exponent, "hazard"), log_base], "log_survival"), "survival")


def logarithm(graph: GraphUnderConstruction, value: str, name: str) -> str:
    """Return the natural logarithm of [N, 1], taken as a whole vector."""
    return _as_vector(graph, "Log", value, f"ln_{name}")


def exponential(graph: GraphUnderConstruction, value: str, name: str) -> str:
    """Return the exponential of [N, 1], taken as a whole vector."""
    return _as_vector(graph, "Exp", value, name)


def _as_vector(graph: GraphUnderConstruction, operator: str, value: str, name: str) -> str:
    repeated = graph.node("Add", [value, graph.constant(f"{name}_repeat", np.zeros((1, VECTOR_WIDTH)))], f"{name}_repeated")
    every = graph.node(operator, [repeated], f"{name}_every")
    return graph.node("Gather", [every, graph.constant(f"{name}_first", np.array([0]))], name, axis=1)
