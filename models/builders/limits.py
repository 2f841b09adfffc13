"""Which inputs a graph takes: written out per input, because NaN makes each comparison false, and one false joined in withholds all."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.builders.graph import GraphUnderConstruction


def join_allowed(graph: GraphUnderConstruction, ranges: Mapping[str, tuple[float, float]], whole: Sequence[str] = ()) -> str:
    """Add the nodes for "every input in its closed range, those in `whole` without a fraction" and return the name of the result, [N]."""
    joined = ""
    for name, (low, high) in ranges.items():
        not_below = graph.node("GreaterOrEqual", [name, graph.constant(f"{name}_lowest", np.array(low))], f"{name}_not_below")
        not_above = graph.node("LessOrEqual", [name, graph.constant(f"{name}_highest", np.array(high))], f"{name}_not_above")
        ok = graph.node("And", [not_below, not_above], f"{name}_in_range")
        if name in whole:
            is_whole = graph.node("Equal", [name, graph.node("Floor", [name], f"{name}_floored")], f"{name}_whole")
            ok = graph.node("And", [ok, is_whole], f"{name}_allowed")
        joined = graph.node("And", [joined, ok], f"{name}_joined") if joined else ok
    return joined
