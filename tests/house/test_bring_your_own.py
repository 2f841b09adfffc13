"""The tutorial, run as it is written: every file it gives, every command, and what it says will be printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bring-your-own-model.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_S_MAX = 120


@pytest.mark.timeout(400)
def test_the_tutorial_does_what_it_says(tmp_path):
    """From an empty folder to a served model; a block of text must be in what the commands before it printed."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_")}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    printed, kinds = "", []
    for block in BLOCK.finditer(PAGE.read_text()):
        kinds.append(block["kind"])
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["text"])
        elif block["kind"] == "sh":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block["text"]], cwd=tmp_path, env=environment, timeout=COMMAND_S_MAX,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            printed = done.stdout
            assert done.returncode in (0, 128 + 15), f"{block['text']}\n{printed}"
        else:
            assert block["kind"] == "text"
            assert all(line in printed for line in block["text"].splitlines()), printed
    assert kinds.count("sh") >= 8
    assert kinds.count("text") >= 4
