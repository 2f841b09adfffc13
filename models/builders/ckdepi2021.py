"""CKD-EPI 2021 creatinine eGFR as a graph in float64.

Source: Inker LA, Eneanya ND, Coresh J, et al. N Engl J Med 2021;385:1737-1749, DOI 10.1056/NEJMoa2102953:

    eGFR = 142 * min(Scr/k, 1)^a * max(Scr/k, 1)^-1.200 * 0.9938^age * (1.012 if female)
    k = 0.7 (female), 0.9 (male); a = -0.241 (female), -0.302 (male); Scr in mg/dL, age in years

Comparisons are false for NaN, so an input is used only where `lowest <= input <= highest` is true; anything else makes the result NaN.
"""

from pathlib import Path

import numpy as np

from models.builders.graph import BOOL, DOUBLE, GraphUnderConstruction

INPUTS = ("age_years", "sex", "creatinine_mg_dl")
# Adults (the paper); sex 0 female, 1 male; creatinine: the plausible range of the terminology's table, outside it is a data error.
LOWEST, HIGHEST = (18.0, 0.0, 0.1), (130.0, 1.0, 40.0)


def build(folder: Path) -> bytes:  # noqa: ARG001 - every builder has this form; this equation has no table
    """Return the graph."""
    graph = GraphUnderConstruction("ckdepi2021")
    ok = _allowed(graph)
    is_male = graph.node("Equal", ["sex", graph.constant("male", np.array(1.0))], "is_male")

    def by_sex(name: str, female: float, male: float) -> str:
        of_male, of_female = graph.constant(f"{name}_m", np.array(male)), graph.constant(f"{name}_f", np.array(female))
        return graph.node("Where", [is_male, of_male, of_female], name)

    one = graph.constant("one", np.array(1.0))
    ratio = graph.node("Div", ["creatinine_mg_dl", by_sex("kappa", 0.7, 0.9)], "ratio")
    below = graph.node("Pow", [graph.node("Min", [ratio, one], "ratio_below"), by_sex("alpha", -0.241, -0.302)], "below")
    above = graph.node("Pow", [graph.node("Max", [ratio, one], "ratio_above"), graph.constant("beta", np.array(-1.2))], "above")
    by_age = graph.node("Pow", [graph.constant("per_year", np.array(0.9938)), "age_years"], "by_age")
    factor = by_sex("factor", 142 * 1.012, 142.0)
    product = graph.node("Mul", [graph.node("Mul", [below, above], "both"), graph.node("Mul", [by_age, factor], "scaled")], "product")
    kept = graph.node("Where", [ok, product, graph.constant("nan", np.array(np.nan))], "kept")
    graph.node("Reshape", [kept, graph.constant("one_column", np.array([-1, 1]))], "egfr")
    graph.node("Not", [graph.node("IsNaN", ["egfr"], "withheld")], "applicable")
    doc = "CKD-EPI 2021 creatinine equation, float64. DOI 10.1056/NEJMoa2102953"
    return graph.serialise(dict.fromkeys(INPUTS, DOUBLE), {"egfr": (DOUBLE, 1), "applicable": (BOOL, 1)}, doc)


def _allowed(graph: GraphUnderConstruction) -> str:
    """Return [N]: every input in its range, and sex exactly 0 or 1. Written out per input: NaN makes each comparison false."""
    joined = ""
    for name, low, high in zip(INPUTS, LOWEST, HIGHEST, strict=True):
        not_below = graph.node("GreaterOrEqual", [name, graph.constant(f"{name}_lowest", np.array(low))], f"{name}_not_below")
        not_above = graph.node("LessOrEqual", [name, graph.constant(f"{name}_highest", np.array(high))], f"{name}_not_above")
        ok = graph.node("And", [not_below, not_above], f"{name}_in_range")
        joined = graph.node("And", [joined, ok], f"{name}_joined") if joined else ok
    whole = graph.node("Equal", ["sex", graph.node("Floor", ["sex"], "sex_floored")], "sex_whole")
    return graph.node("And", [joined, whole], "allowed")
