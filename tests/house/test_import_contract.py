"""The direction of imports, checked by the tool and once more by loading the rooms."""

import shutil
import subprocess
import sys
from pathlib import Path

LINT_IMPORTS = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
PURE_ROOMS = ("assessment", "record", "terminology", "quality", "features", "scores", "results")
IMPURE_PACKAGES = (
    "httpx",
    "aiohttp",
    "fastapi",
    "starlette",
    "uvicorn",
    "onnxruntime",
    "onnx",
    "sqlalchemy",
    "alembic",
    "cryptography",
    "sqlite3",
)

LOAD_PURE_ROOMS = """
import importlib, pkgutil, sys
for room in sys.argv[1].split(","):
    package = importlib.import_module(f"gateway.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"gateway.{room}."):
        importlib.import_module(module.name)
print(",".join(sorted(set(sys.argv[2].split(",")) & sys.modules.keys())))
"""


def lint(folder):
    return subprocess.run(LINT_IMPORTS, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_rooms_import_one_way(tree):
    """The contract of .importlinter is kept by the whole package."""
    done = lint(tree.root)
    assert done.returncode == 0, done.stdout


def test_contract_notices_an_import_upwards_and_a_room_without_a_place(tree, tmp_path):
    """An import from the bottom to the top breaks the contract, and so does a module that nobody placed."""
    shutil.copytree(tree.package, tmp_path / "gateway", ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copy(tree.root / ".importlinter", tmp_path)
    (tmp_path / "gateway" / "clock.py").write_text("import gateway.config\n")
    upwards = lint(tmp_path)
    assert upwards.returncode == 1
    assert "gateway.clock is not allowed to import gateway.config" in upwards.stdout
    (tmp_path / "gateway" / "clock.py").write_text("")
    (tmp_path / "gateway" / "misplaced.py").write_text("")
    unplaced = lint(tmp_path)
    assert unplaced.returncode == 1
    assert "misplaced" in unplaced.stdout


def test_deciding_rooms_load_without_network_disk_or_accelerator(tree):
    """Loading every module of the pure rooms loads no package that does input, output or cryptography."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD_PURE_ROOMS, ",".join(PURE_ROOMS), ",".join(IMPURE_PACKAGES)],
        cwd=tree.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == ""


def test_onnxruntime_is_imported_in_one_file_and_onnx_in_none(tree):
    """The runtime has one door; the graph builder's package never reaches the serving process."""
    doors = {path for path, name in tree.imports() if name.split(".")[0] == "onnxruntime"}
    assert len(doors) == 1, doors
    assert [path for path, name in tree.imports() if name.split(".")[0] == "onnx"] == []
