"""The shipped graphs come out of the published tables, byte for byte."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.builders import prevent
from models.builders.__main__ import BUILDS

ROOT = Path(__file__).parents[2]
RELEASES = sorted(BUILDS)


def build_elsewhere(folder: Path, hash_seed: str) -> dict[str, bytes]:
    """Build all releases in a fresh process from a copy without graphs, and return every file."""
    for place in RELEASES:
        shutil.copytree(ROOT / "models" / place, folder / place, ignore=shutil.ignore_patterns("model.onnx", "SHA256SUMS"))
    command = [sys.executable, "-m", "models.builders", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, timeout=60)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_build_gives_the_shipped_bytes_every_time(tmp_path):
    """Two fresh processes with different hash seeds, compared with each other and with what is shipped, hashes included."""
    first, second = build_elsewhere(tmp_path / "first", "1"), build_elsewhere(tmp_path / "second", "2")
    assert first == second
    shipped = {f"{place}/{path.name}": path.read_bytes() for place in RELEASES for path in (ROOT / "models" / place).iterdir()}
    assert first == shipped


def write_table(folder: Path, edit) -> Path:
    """Write the coefficient table with its lines changed."""
    lines = (ROOT / "models/prevent/1.0.0/coefficients.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    target = folder / "coefficients.csv"
    target.write_text("".join(edit(lines)), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda lines: [*lines, lines[1]], "cannot be placed"),
        (lambda lines: [*lines, lines[1].replace("base,10,age,", "base,10,height,")], "cannot be placed"),
        (lambda lines: [line for line in lines if not line.startswith("full,30,")], "does not hold every variant"),
        (lambda lines: [*lines, lines[1].replace("base,10,age,", "base,10,gate_30y,")], "cannot be placed"),
    ],
    ids=["a term twice", "an unknown term", "a table missing", "a term of ours"],
)
def test_a_damaged_table_is_not_built(tmp_path, edit, words):
    """A coefficient that cannot be placed, or is not there, stops the build."""
    with pytest.raises(ValueError, match=words):
        prevent.read_coefficients(write_table(tmp_path, edit))


def test_the_specification_has_the_same_coefficients(vector_folder):
    """The table of the release is the table of the clinical data sheets."""
    if vector_folder is None:
        pytest.skip("the clinical tables (GATEWAY_CLINICAL_DIR) are not here")
    assert (ROOT / "models/prevent/1.0.0/coefficients.csv").read_bytes() == (vector_folder / "prevent_coefficients.csv").read_bytes()
