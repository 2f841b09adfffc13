"""Flips single bits of a release's graph, vouches for it all the same, and counts what still refuses it.

A process of its own, because foreign bytes go as far as the runtime.

    python tests/registry/flip_graph.py FOLDER FLIPS     -> one line of JSON: refused by the graph's form, by the vectors, by nothing
"""

import json
import random
import sys
from pathlib import Path

from release_keys import KEY, TRUSTED

from gateway.errors import ModelRefused
from gateway.inference.engine import InProcessEngine
from gateway.registry import VectorsRefused, admit, load_code_sets, load_release
from gateway.registry.folder import vouch_for


def main(folder: Path, flips: int) -> None:
    """Count."""
    graph = folder / "model.onnx"
    whole = graph.read_bytes()
    known = load_code_sets(folder.parents[1], TRUSTED)
    counts = {"form": 0, "vectors": 0, "nothing": 0}
    for bit in random.Random(0).sample(range(len(whole) * 8), flips):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        graph.write_bytes(damaged)
        vouch_for(folder, KEY)
        try:
            admit(load_release(folder, known, TRUSTED), InProcessEngine(), known)
            counts["nothing"] += 1
        except VectorsRefused:
            counts["vectors"] += 1
        except ModelRefused:
            counts["form"] += 1
    graph.write_bytes(whole)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
