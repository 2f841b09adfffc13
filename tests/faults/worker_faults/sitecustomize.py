"""Found by every Python that has this folder on its path; lets a worker of the gateway misbehave when a file asks its process id to.

The file (`WORKER_FAULT_FILE`) holds `KIND PID`. Only a worker's runs are touched, so that the product knows nothing of any of this.
"""

import os
import sys
from pathlib import Path

if "gateway.inference.worker" in sys.orig_argv and "WORKER_FAULT_FILE" in os.environ:
    from gateway.inference.engine import LoadedGraph

    control = Path(os.environ["WORKER_FAULT_FILE"])
    honest = LoadedGraph.run_rows

    def fault() -> str:
        """Return the kind of fault that this process shall have, if any."""
        try:
            kind, pid = control.read_text().split()
        except (OSError, ValueError):
            return ""
        return kind if int(pid) == os.getpid() else ""

    def run_rows(self, rows, variants):
        """Run, and spoil what came out."""
        kind = fault()
        if kind == "memory":
            taken = []
            while True:
                taken.append(bytearray(64 * 1024 * 1024))
        found = honest(self, rows, variants)
        spoil = {
            "nan": lambda numbers: ([float("nan")] * len(numbers[0]), numbers[1]),
            "infinity": lambda numbers: ([float("inf")] * len(numbers[0]), numbers[1]),
            "range": lambda numbers: ([1.5] * len(numbers[0]), numbers[1]),
            "shape": lambda numbers: ([*numbers[0], 0.5], [*numbers[1], True]),
        }
        return [spoil[kind](numbers) for numbers in found] if kind in spoil else found

    LoadedGraph.run_rows = run_rows
