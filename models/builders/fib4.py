"""FIB-4 as a graph in float64.

Source: Sterling RK, Lissen E, Clumeck N, et al. Hepatology 2006;43(6):1317-1325, DOI 10.1002/hep.21178:

    FIB-4 = age * AST / (platelets * sqrt(ALT))

Three more columns say on what the bands depend: 18 to 34 years (no band), AST or ALT above five times the upper limit (no band), 65
years and more (another lower cut-off; McPherson S, et al. Am J Gastroenterol 2017;112:740-751). An input outside its limits is NaN, and
NaN in any input makes every column NaN: `>=` is false for NaN, so the flags are poisoned by the index itself.
"""

from pathlib import Path

import numpy as np

from models.builders.graph import BOOL, DOUBLE, GraphUnderConstruction

# Limits, closed: age by the data sheet, the others plausible by the terminology's tables.
LIMITS = {"age_years": (18, 130), "ast_u_l": (1, 20000), "alt_u_l": (1, 20000), "platelets_10e9_l": (1, 3000)}
YOUNG_BELOW_YEARS = 35  # AUROC 0.60 up to 35 years (McPherson 2017)
OLD_FROM_YEARS = 65  # the lower cut-off is 2.0 from here on (McPherson 2017)
ACUTE_ABOVE_U_L = 200  # about five times the upper limit of normal
COLUMNS = 4  # the index, too young for a band, acute liver injury, 65 years and more


def build(folder: Path) -> bytes:  # noqa: ARG001 - every builder has this form; the formula has no table
    """Return the graph."""
    graph = GraphUnderConstruction("fib4")
    nan = graph.constant("nan", np.array(np.nan))
    allowed = {name: _within(graph, name, *limits, nan) for name, limits in LIMITS.items()}
    product = graph.node("Mul", [allowed["age_years"], allowed["ast_u_l"]], "age_times_ast")
    root = graph.node("Sqrt", [allowed["alt_u_l"]], "root_of_alt")
    below = graph.node("Mul", [allowed["platelets_10e9_l"], root], "platelets_times_root")
    index = graph.node("Div", [product, below], "index")
    poison = graph.node("Mul", [index, graph.constant("zero", np.array(0.0))], "poison")  # 0, or NaN with the index
    ages = [graph.constant(f"years_{years}", np.array(float(years))) for years in (YOUNG_BELOW_YEARS, OLD_FROM_YEARS)]
    acute = graph.constant("acute_above", np.array(float(ACUTE_ABOVE_U_L)))
    young = graph.node("Less", ["age_years", ages[0]], "is_young")
    injured = [graph.node("Greater", [name, acute], f"{name}_acute") for name in ("ast_u_l", "alt_u_l")]
    either = graph.node("Or", injured, "is_injured")
    old = graph.node("GreaterOrEqual", ["age_years", ages[1]], "is_old")
    flags = [
        graph.node("Add", [graph.node("Cast", [flag], f"{flag}_0_1", to=DOUBLE), poison], f"{flag}_told") for flag in (young, either, old)
    ]
    shape = graph.constant("one_column", np.array([-1, 1]))
    columns = [graph.node("Reshape", [column, shape], f"{column}_column") for column in (index, *flags)]
    graph.node("Concat", columns, "score", axis=1)
    graph.node("Not", [graph.node("IsNaN", ["score"], "withheld")], "applicable")
    doc = "FIB-4, float64. DOI 10.1002/hep.21178"
    return graph.serialise(dict.fromkeys(LIMITS, DOUBLE), {"score": (DOUBLE, COLUMNS), "applicable": (BOOL, COLUMNS)}, doc)


def _within(graph: GraphUnderConstruction, name: str, low: float, high: float, nan: str) -> str:
    """Return the input where it lies within its limits, NaN elsewhere."""
    not_below = graph.node("GreaterOrEqual", [name, graph.constant(f"{name}_low", np.array(float(low)))], f"{name}_not_below")
    not_above = graph.node("LessOrEqual", [name, graph.constant(f"{name}_high", np.array(float(high)))], f"{name}_not_above")
    inside = graph.node("And", [not_below, not_above], f"{name}_inside")
    return graph.node("Where", [inside, name, nan], f"{name}_allowed")
