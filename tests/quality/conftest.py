"""The same small language for records as in the tests of features."""

import importlib.util
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("feature_charts", Path(__file__).parents[1] / "features" / "conftest.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_CHARTS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_CHARTS)

charts, clinical_dir, manifests, terminology = _CHARTS.charts, _CHARTS.clinical_dir, _CHARTS.manifests, _CHARTS.terminology
