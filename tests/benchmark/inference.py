"""Measures the ways in which graphs run, each against its alternative in the same run: `make bench-inference`.

    PYTHONPATH=tests/shared python tests/benchmark/inference.py [--rounds 3] [--seconds 4] [--only v2,worker,batching,memory]

- v2: the yardstick's gbt40.onnx as a brought release by `/v2`, against the yardstick's bare endpoint, which audits nothing: with the
  durable log, and in a composition of the tests whose log keeps nothing.
- worker: a graph in a worker against the same graph in the process, by number of callers.
- batching: a graph of some milliseconds at 32 callers, up to 64 rows together against one by one.
- memory: resident memory and time to ready of a gateway with all shipped models.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from brought_release import CARD_TEMPLATE, KEY, MANIFEST, NAME, PUBLIC_KEY, graph_bytes, write_release
from gateway_process import serving
from run import yardstick
from served import COMMAND

from gateway.features.manifest import decode_manifest
from gateway.inference.engine import LoadedGraph
from gateway.inference.result import signature_of
from gateway.inference.runtime import Runtime, RuntimePlan, open_workers
from gateway.registry import admit_releases, load_code_sets
from gateway.registry.folder import vouch_for

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 40
ROW = {"age_years": 60.0, "creatinine_mg_dl": 1.2, "heart_rate_per_min": 90.0}
CALLERS = (1, 8, 32)
SLOW_PRODUCTS = 16  # 16 million weights, more than a processor keeps near: a few milliseconds for one row


def write_gbt40(root: Path, graph: bytes) -> None:
    """Write the yardstick's graph as a release: 40 inputs, of which one is the age and the others are stated by the site."""
    folder = root / "gbt40" / "1.0.0"
    folder.mkdir(parents=True)
    head = MANIFEST.split("[[inputs]]")[0].replace('"ward"', '"gbt40"').replace("0.1.0", "1.0.0")
    names = [f"x{place}" for place in range(INPUTS)]
    manifest = head
    for place, name in enumerate(names):
        feature = 'operator = "age"' if place == 0 else f'operator = "site_setting"\nsetting = "{name}"'
        manifest += f'[[inputs]]\nname = "{name}"\ntensor = "{name}"\nconcept = "{name}"\nunit = "1"\n[inputs.feature]\n{feature}\n'
    needs = json.dumps(names)
    manifest += (
        f'[[outputs]]\nname = "p"\nindex = 1\nlabel = "p"\nvector_column = "expected_p"\ntitle = "P"\noutcome_text = "P"\n'
        f"needs = {needs}\nvalid_range = {{ low = 0.0, high = 1.0 }}\nheadline = true\n"
    )
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(20, INPUTS)).astype(np.float32)
    expected = ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(["probabilities"], {"X": rows})[0][:, 1]
    lines = [",".join(["case_id", *names, "expected_p", "tolerance_abs"])]
    lines += [
        ",".join([f"v{place}", *map(repr, map(float, row)), repr(float(value)), "1e-6"])
        for place, (row, value) in enumerate(zip(rows, expected, strict=True))
    ]
    (folder / "manifest.toml").write_text(manifest)
    (folder / "vectors.csv").write_text("\n".join(lines) + "\n")
    (folder / "card.toml").write_text(
        CARD_TEMPLATE.read_text().replace("What it tells, about whom, for whom.", "None: made up for a test.")
    )
    (folder / "model.onnx").write_bytes(graph)
    vouch_for(folder, KEY)


def configuration(folder: Path, processes: int) -> Path:
    """Write the configuration of a gateway that serves the releases of the folder."""
    path = folder / f"gateway-{processes}.toml"
    path.write_text(
        f'[server]\nprocesses = {processes}\n[audit]\ndatabase = "{folder}/audit-{processes}.db"\nkey_file = "{folder}/kek.json"\n'
        f'[logging]\nformat = "json"\nlevel = "error"\n'
        f'[models]\nfolder = "{folder}/models"\ntrusted_keys = ["{PUBLIC_KEY}"]\n'
    )
    return path


def measure_v2(bench: Path, folder: Path, options: argparse.Namespace) -> None:
    """Print the ratios of `/v2` to the bare endpoint."""
    subprocess.run([sys.executable, str(bench / "bodies.py"), str(folder / "bodies")], check=True, stdout=subprocess.DEVNULL)
    body = json.loads((folder / "bodies" / "v2_40.json").read_text())
    body["inputs"][0]["name"] = "X"  # as the graph names its tensor
    (folder / "bodies" / "v2_gateway.json").write_text(json.dumps(body))
    write_gbt40(folder / "models", (bench / "gbt40.onnx").read_bytes())
    ours = {"cwd": str(folder), "path": "/v2/models/gbt40/infer", "body": str(folder / "bodies" / "v2_gateway.json"), "expect": "outputs"}
    environment = {"PYTHONPATH": str(ROOT), "GATEWAY__SERVER__PORT": "{port}"}
    reference = [sys.executable, "-m", "uvicorn", "reference:app", "--port", "{port}", "--loop", "uvloop", "--http", "httptools"]
    unaudited = [sys.executable, str(Path(__file__).with_name("unaudited.py"))]
    one, many = str(configuration(folder, 1)), str(configuration(folder, os.cpu_count() or 1))
    targets: dict[str, object] = {
        "bare": {
            "cmd": [*reference, "--no-access-log", "--log-level", "warning"], "cwd": str(bench), "env": {"REFERENCE_DIR": str(folder)},
            "path": "/v2/models/gbt40/infer", "body": str(folder / "bodies" / "v2_40.json"), "expect": "outputs", "port": 18160,
        },
        "durable, 1 process": {"cmd": [*COMMAND, "serve", "--config", one], "env": environment, **ours, "port": 18161},
        "durable, as many as cores": {
            "cmd": [*COMMAND, "serve", "--config", many], "env": environment, "port": 18162, **ours,
        },
        "without log, 1 process": {"cmd": unaudited, "env": {**environment, "GATEWAY_CONFIG": one}, **ours, "port": 18163},
    }  # fmt: skip
    path, out = folder / "targets.json", folder / "out.json"
    path.write_text(json.dumps(targets))
    command = [sys.executable, str(bench / "bench.py"), "--targets", str(path), "--conc", "8", "--out", str(out), "--tool", options.tool]
    subprocess.run([*command, "--rounds", str(options.rounds), "-d", str(options.seconds)], check=True, stdout=subprocess.DEVNULL)
    result = json.loads(out.read_text())
    for name, why in result["failed"].items():
        print(f"FAILED {name}: {why}")
    bare = result["median"]["bare"]["8"]
    print("\n/v2 infer of gbt40 at 8 connections, through a worker, against the bare endpoint (bars 0.25 durable, 0.5 without log)")
    for name, by_count in result["median"].items():
        found = by_count["8"]
        print(f"  {name}: {found['rps']:.0f} requests/s, ratio {found['rps'] / bare['rps']:.2f}, p99 {found['p99_ms']:.1f} ms")


async def throughput(ask: Callable[[], object], callers: int, seconds: float) -> tuple[float, float]:
    """Return answers per second and p99 in milliseconds of so many callers, each of which asks again when it is answered."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def caller() -> None:
        while (began := time.perf_counter()) < until:
            found = ask()
            if asyncio.iscoroutine(found):
                await found
            else:
                await asyncio.sleep(0)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*[caller() for _ in range(callers)])
    return len(took) / seconds, 1000 * statistics.quantiles(took, n=100)[98]


async def measure_worker(folder: Path, options: argparse.Namespace) -> None:
    """Print a graph in a worker against the same graph in the process."""
    write_release(folder / "models")
    local = LoadedGraph(signature_of(decode_manifest((folder / "models" / NAME / "0.1.0" / "manifest.toml").read_bytes())), graph_bytes())
    async with started(RuntimePlan(run_s_max=5.0), folder) as runtime:
        print("\na tiny brought graph: in a worker against in the process")
        for callers in CALLERS:
            rates = [
                (
                    await throughput(lambda: runtime.run(NAME, ROW, None, 5.0), callers, options.seconds),
                    await throughput(lambda: local.run(ROW, None), callers, options.seconds),
                )
                for _ in range(options.rounds)
            ]
            ratio = statistics.median(worker[0] / process[0] for worker, process in rates)
            p99 = statistics.median(worker[1] for worker, _ in rates)
            rate = statistics.median(worker[0] for worker, _ in rates)
            print(f"  {callers} callers: {rate:.0f} rows/s in a worker, {ratio:.2f} of the process; p99 {p99:.2f} ms")


async def measure_batching(folder: Path, options: argparse.Namespace) -> None:
    """Print rows together against one by one, for a graph that takes milliseconds."""
    write_release(folder / "models", graph_bytes(slow=SLOW_PRODUCTS))
    found: dict[int, list[tuple[float, float]]] = {1: [], 64: []}
    for _ in range(options.rounds):
        for rows_max, figures in found.items():
            async with started(RuntimePlan(run_s_max=10.0, batch_rows_max=rows_max), folder) as runtime:
                figures.append(await throughput(lambda runtime=runtime: runtime.run(NAME, ROW, None, 20.0), 32, options.seconds))
    alone, together = ([statistics.median(figure) for figure in zip(*found[rows_max], strict=True)] for rows_max in (1, 64))
    print(f"\na graph of {1000 / alone[0]:.1f} ms at 32 callers: rows together against one by one (bar 3.0, p99 not worse)")
    print(f"  {together[0]:.0f} against {alone[0]:.0f} rows/s, ratio {together[0] / alone[0]:.1f}", end="")
    print(f"; p99 {together[1]:.0f} against {alone[1]:.0f} ms")


@contextlib.asynccontextmanager
async def started(plan: RuntimePlan, folder: Path):
    """Give a runtime with the folder's releases, started."""
    with open_workers(plan) as workers:
        runtime = Runtime(plan, workers)
        admit_releases(folder / "models", runtime, load_code_sets(folder / "models", {PUBLIC_KEY}), {PUBLIC_KEY})
        await runtime.start()
        yield runtime
        await runtime.aclose()


def measure_memory(folder: Path, options: argparse.Namespace) -> None:
    """Print what a gateway with all shipped models takes, and how soon it is ready."""
    config = folder / "all.toml"
    log = '[logging]\nformat = "json"\nlevel = "error"\n'
    config.write_text(f'[server]\nport = 0\n[audit]\ndatabase = "{folder}/all.db"\nkey_file = "{folder}/all.json"\n{log}')
    ready, resident = [], []
    for _ in range(options.rounds):
        began = time.monotonic()
        with serving(config) as running:
            ready.append(time.monotonic() - began)
            lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
            resident.append(int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024)
    seconds, mebibytes = statistics.median(ready), statistics.median(resident)
    print(f"\nall shipped models: {mebibytes:.0f} MiB resident (bar 200), ready after {seconds:.1f} s (bar 3)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="v2,worker,batching,memory")
    parser.add_argument("--tool", choices=["wrk", "py"], default="py")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",")
    bench = yardstick()
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
            if name == "v2" and bench is None:
                print("v2 was not measured: the reference program is not there. Set GATEWAY_BENCH_DIR to its folder.")
            elif name == "v2":
                measure_v2(bench, Path(folder), options)
            elif name == "worker":
                asyncio.run(measure_worker(Path(folder), options))
            elif name == "batching":
                asyncio.run(measure_batching(Path(folder), options))
            else:
                measure_memory(Path(folder), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
