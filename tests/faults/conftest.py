"""The release that a hospital brings is written by the tests of inference."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
