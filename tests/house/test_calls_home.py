"""Nothing in the process reports to its maker."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

RUN_A_MODEL = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"


def left_in_home(tree, home, program):
    """Return what a program that loads one graph leaves in an empty home folder."""
    home.mkdir()
    telling = {"ORT_DISABLE_TELEMETRY", "CI", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in telling}
    graph = next(tree.root.glob("models/*/*/model.onnx"))
    subprocess.run(
        [sys.executable, "-c", program, str(graph)],
        cwd=tree.root,
        env={**environment, "HOME": str(home)},
        check=True,
        timeout=60,
        capture_output=True,
    )
    return [path.name for path in home.rglob("*") if path.is_file()]


def test_runtime_of_the_models_keeps_no_device_id_and_no_store_of_events(tree, tmp_path):
    """Loaded through the gateway, ONNX Runtime prepares nothing to be sent: without the switch it would leave a device id at once."""
    assert left_in_home(tree, tmp_path / "home", f"import gateway.inference.engine; {RUN_A_MODEL}") == []


def test_the_switch_is_the_one_that_the_runtime_reads():
    """The variable that the gateway sets stands in the installed library; a renamed switch would be noticed here."""
    libraries = list((Path(importlib.util.find_spec("onnxruntime").origin).parent / "capi").glob("onnxruntime_pybind11_state*"))
    assert libraries
    assert all(b"ORT_DISABLE_TELEMETRY" in library.read_bytes() for library in libraries)
