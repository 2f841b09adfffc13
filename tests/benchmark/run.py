"""Measures the gateway against the reference program, in one run, alternating: `make bench`.

    python tests/benchmark/run.py [--rounds 3] [--seconds 5] [--connections 1,8] [--tool wrk|py] [--no-compare]

The yardstick (reference program, bodies, load generators) is looked for in GATEWAY_BENCH_DIR, else beside the project. On a shared machine
absolute figures mean little, so the ratios count. Exit status: 0 the bar is met, 1 it is not or an answer differs, 2 nothing was measured.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from compare_answers import differing_patients
from inline_bodies import VARY, write_inline_bodies
from served import CDS_PATH, COMMAND, ENVIRONMENT, REST_PATH, ROOT, write_configuration

BAR_RATIO = 0.6  # of the reference's requests/s at 8 connections
GOAL_RATIO = 1.0
P99_MS_MAX = 5.0  # at one connection
PORT = 18150
Figures = Mapping[str, float | None]


class Case(NamedTuple):
    """One thing that is measured: the reference answers the CDS body of the same records."""

    name: str
    path: str
    body: str
    reference_body: str
    expect: str


CASES = (
    Case("CDS Hooks, 60 Observations", CDS_PATH, "cds_60", "cds_60", '"cards":[{'),
    Case("CDS Hooks, 500 Observations", CDS_PATH, "cds_500", "cds_500", '"cards":[{'),
    Case("REST inline, 60 Observations", REST_PATH, "rest_60", "cds_60", '"probabilityDecimal"'),
)


def yardstick() -> Path | None:
    """Return the folder of the yardstick, or None where there is none."""
    folder = Path(os.environ.get("GATEWAY_BENCH_DIR") or ROOT.parent / "shared" / "bench")
    return folder if (folder / "bench.py").is_file() else None


def write_bodies(bench: Path, folder: Path) -> None:
    """Write the bodies of every case."""
    subprocess.run([sys.executable, str(bench / "bodies.py"), str(folder)], check=True)
    write_inline_bodies(folder / "cds_60", folder / "rest_60", folder / "bundle_60")


def targets_of(bench: Path, bodies: Path, folder: Path) -> dict[str, Any]:
    """Return both servers for each case, in the yardstick's own form."""
    reference_command = [sys.executable, "-m", "uvicorn", "reference:app", "--port", "{port}", "--loop", "uvloop", "--http", "httptools"]
    targets: dict[str, Any] = {}
    for number, case in enumerate(CASES):
        targets[f"reference {case.name}"] = {
            "cmd": [*reference_command, "--no-access-log", "--log-level", "warning"],
            "cwd": str(bench),
            "path": "/cds-services/risk",
            "env": {"REFERENCE_DIR": str(folder)},
            "body": str(bodies / case.reference_body),
            "expect": '"cards":[{',
            "vary": VARY,
            "port": PORT,
        }
        targets[f"gateway {case.name}"] = {
            "cmd": [*COMMAND, "serve", "--config", str(write_configuration(folder / f"gateway-{number}"))],
            "cwd": str(folder),
            "env": {**ENVIRONMENT, "GATEWAY__SERVER__PORT": "{port}"},
            "path": case.path,
            "body": str(bodies / case.body),
            "expect": case.expect,
            "vary": VARY,
            "port": PORT + 1,
        }
    return targets


def measure(bench: Path, folder: Path, targets: dict[str, Any], options: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """Run the yardstick over all targets and return the medians: name, then connections, then figure."""
    path, out = folder / "targets.json", folder / "out.json"
    path.write_text(json.dumps(targets))
    subprocess.run(
        [
            sys.executable,
            str(bench / "bench.py"),
            "--targets",
            str(path),
            "--conc",
            options.connections,
            "--rounds",
            str(options.rounds),
            "-d",
            str(options.seconds),
            "--tool",
            options.tool,
            "--out",
            str(out),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    result = json.loads(out.read_text())
    for name, why in result["failed"].items():
        print(f"FAILED {name}: {why}")
    medians: dict[str, dict[str, Figures]] = result["median"]
    return medians


def ratio(ours: Figures, theirs: Figures, figure: str) -> str:
    """Return ours through theirs as text."""
    mine, other = ours.get(figure), theirs.get(figure)
    return f"{mine / other:.2f}" if mine is not None and other else "-"


def print_table(medians: dict[str, dict[str, Figures]], connections: list[str]) -> bool:
    """Print one row per case and number of connections, and tell whether the bars are met."""
    print("\nratios are gateway : reference, measured in this run; requests/s more is better, the others less")
    print("| case | connections | requests/s (gateway, reference) | requests/s | CPU per request | p50 | p99 | p99 ms | errors |")
    print("|---|---|---|---|---|---|---|---|---|")
    met = True
    for case in CASES:
        for count in connections:
            ours, theirs = medians[f"gateway {case.name}"].get(count), medians[f"reference {case.name}"].get(count)
            if not ours or not theirs:
                met = False
                continue
            figures = " | ".join(ratio(ours, theirs, figure) for figure in ("rps", "cpu_us_per_req", "p50_ms", "p99_ms"))
            absolute = f"{ours['rps']:.0f}, {theirs['rps']:.0f}"
            print(f"| {case.name} | {count} | {absolute} | {figures} | {ours['p99_ms']:.1f} | {ours['errors']:.0f} |")
            met = met and meets_bar(case, count, ours, theirs)
    return met


def meets_bar(case: Case, connections: str, ours: Figures, theirs: Figures) -> bool:
    """Tell whether a row meets its bar; the bars are set for 60 Observations."""
    if ours["errors"]:
        return False
    if "60" not in case.name:
        return True
    if connections == "8":
        return (ours["rps"] or 0) >= BAR_RATIO * (theirs["rps"] or 0)
    return connections != "1" or (ours["p99_ms"] or 0) <= P99_MS_MAX


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", default="1,8")
    parser.add_argument("--tool", choices=["wrk", "py"], default="wrk" if shutil.which("wrk") else "py")
    parser.add_argument("--no-compare", dest="compare", action="store_false", help="do not compare the answers first")
    return parser.parse_args()


def main() -> int:
    """Compare the answers, measure, print."""
    options = parse_options()
    bench = yardstick()
    if bench is None:
        print("nothing was measured: the reference program is not there. Set GATEWAY_BENCH_DIR to its folder.")
        return 2
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        write_bodies(bench, folder / "bodies")
        differing: list[str] = []
        if options.compare:
            count, differing = differing_patients(folder / "bodies", folder / "compare")
            agreeing = f"{count - len(differing)} of {count} agree {differing or ''}"
            print(f"answers of the patients through REST, CDS Hooks and `gateway assess`: {agreeing}")
        print(f"load generator: {options.tool}; {options.rounds} alternating rounds of {options.seconds} s; alert threshold: always")
        medians = measure(bench, folder, targets_of(bench, folder / "bodies", folder), options)
        met = print_table(medians, options.connections.split(","))
        print(
            f"bar: {BAR_RATIO} of the reference's requests/s at 8 connections (goal {GOAL_RATIO}), p99 at one connection {P99_MS_MAX} ms: ",
            end="",
        )
        print("met" if met else "NOT met")
    return 0 if met and not differing else 1


if __name__ == "__main__":
    sys.exit(main())
