"""CHA2DS2-VASc as a graph in float64.

Source: Lip GYH, Nieuwlaat R, Pisters R, et al. Chest 2010;137:263-272, DOI 10.1378/chest.09-1584: heart failure 1, hypertension 1, age from
75 years 2, diabetes 1, stroke, TIA or thromboembolism 2, vascular disease 1, age 65 to 74 years 1, female 1.

Comparisons are false for NaN, so an input is used only where it lies in its range and is whole; anything else makes the score NaN.
"""

from pathlib import Path

import numpy as np

from models.builders.graph import BOOL, DOUBLE, GraphUnderConstruction
from models.builders.limits import join_allowed

POINTS = {"chf_0_1": 1.0, "hypertension_0_1": 1.0, "diabetes_0_1": 1.0, "stroke_tia_te_0_1": 2.0, "vascular_disease_0_1": 1.0}
AGE_POINTS = ((65.0, 1.0), (75.0, 1.0))  # one more from each of these ages on
# Adults; sex 0 female, 1 male; the items exactly 0 or 1.
RANGES = {"age_years": (18.0, 130.0), "sex": (0.0, 1.0), **dict.fromkeys(POINTS, (0.0, 1.0))}


def build(folder: Path) -> bytes:  # noqa: ARG001 - every builder has this form; the points need no table
    """Return the graph."""
    graph = GraphUnderConstruction("cha2ds2vasc")
    allowed = join_allowed(graph, RANGES, whole=("sex", *POINTS))
    score = graph.node("Sub", [graph.constant("female_points", np.array(1.0)), "sex"], "of_sex")
    for name, points in POINTS.items():
        of_item = graph.node("Mul", [name, graph.constant(f"{name}_points", np.array(points))], f"of_{name}")
        score = graph.node("Add", [score, of_item], f"with_{name}")
    for years, points in AGE_POINTS:
        reached = graph.node("GreaterOrEqual", ["age_years", graph.constant(f"from_{years:g}", np.array(years))], f"reached_{years:g}")
        chosen = [graph.constant(f"points_{years:g}", np.array(points)), graph.constant(f"none_{years:g}", np.array(0.0))]
        score = graph.node("Add", [score, graph.node("Where", [reached, *chosen], f"of_age_{years:g}")], f"with_age_{years:g}")
    kept = graph.node("Where", [allowed, score, graph.constant("nan", np.array(np.nan))], "kept")
    graph.node("Reshape", [kept, graph.constant("one_column", np.array([-1, 1]))], "score")
    graph.node("Not", [graph.node("IsNaN", ["score"], "withheld")], "applicable")
    doc = "CHA2DS2-VASc, points. DOI 10.1378/chest.09-1584"
    return graph.serialise(dict.fromkeys(RANGES, DOUBLE), {"score": (DOUBLE, 1), "applicable": (BOOL, 1)}, doc)
