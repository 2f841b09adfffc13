"""Found by every Python that has this folder on its path; gives a GPU's worker a device that is not there, with a fault if asked for.

`SIMULATED_GPU`: `good`, `wrong` (other numbers) or `failing` (every run fails); it is read anew at each run where it names a file.
"""

import os
import sys
from pathlib import Path

if "gateway.inference.worker" in sys.orig_argv and "gpu" in sys.orig_argv and "SIMULATED_GPU" in os.environ:
    from gateway.inference import engine
    from gateway.inference.result import Device, InferenceFailed

    create, honest = engine._create_session, engine.LoadedGraph.run_rows
    engine._create_session = lambda graph, _device: create(graph, Device.CPU)

    def run_rows(self, rows, variants):
        """Run as the device is said to."""
        state = os.environ["SIMULATED_GPU"]
        state = Path(state).read_text() if Path(state).is_file() else state
        if state == "failing":
            return [InferenceFailed("the device failed")] * len(rows)
        found = honest(self, rows, variants)
        if state == "wrong":
            return [([value * 0.99 for value in values], applies) for values, applies in found]
        return found

    engine.LoadedGraph.run_rows = run_rows
