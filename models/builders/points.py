"""What the graphs of point scores share: an input within its limits, and points that change from certain values on."""

from collections.abc import Sequence

import numpy as np

from models.builders.graph import DOUBLE, GraphUnderConstruction


def number(graph: GraphUnderConstruction, name: str, value: float) -> str:
    """Add one number as a constant."""
    return graph.constant(name, np.array(value, dtype=np.float64))


def is_within(graph: GraphUnderConstruction, name: str, low: float, high: float) -> str:
    """Return whether the input lies within its limits, ends included; false for NaN."""
    not_below = graph.node("GreaterOrEqual", [name, number(graph, f"{name}_low", low)], f"{name}_not_below")
    not_above = graph.node("LessOrEqual", [name, number(graph, f"{name}_high", high)], f"{name}_not_above")
    return graph.node("And", [not_below, not_above], f"{name}_inside")


def nan_unless(graph: GraphUnderConstruction, name: str, allowed: str) -> str:
    """Return the input where it is allowed, NaN elsewhere."""
    return graph.node("Where", [allowed, name, number(graph, f"{name}_nan", np.nan)], f"{name}_allowed")


def points(graph: GraphUnderConstruction, value: str, at_lowest: float, steps: Sequence[tuple[float, float]], name: str) -> str:
    """Return points, [N]: `at_lowest`, changed from each value of `steps` on; NaN for NaN, because a comparison alone would be false."""
    nothing = graph.node("Sub", [value, value], f"{name}_zero_or_nan")
    total = graph.node("Add", [nothing, number(graph, f"{name}_at_the_lower_end", at_lowest)], f"{name}_points_0")
    for place, (start, change) in enumerate(steps, start=1):
        reached = graph.node("GreaterOrEqual", [value, number(graph, f"{name}_from_{place}", start)], f"{name}_at_{place}")
        counted = graph.node("Cast", [reached], f"{name}_counted_{place}", to=DOUBLE)
        changed = graph.node("Mul", [counted, number(graph, f"{name}_change_{place}", change)], f"{name}_step_{place}")
        total = graph.node("Add", [total, changed], f"{name}_points_{place}")
    return total
