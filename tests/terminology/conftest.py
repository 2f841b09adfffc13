"""The terminology, and the folder of clinical tables outside the project."""

import os
from pathlib import Path

import pytest

from gateway.terminology import Terminology, load_terminology


@pytest.fixture(scope="session")
def terminology() -> Terminology:
    """Return the packaged terminology, loaded once."""
    return load_terminology()


@pytest.fixture(scope="session")
def clinical_dir() -> Path:
    """Return the folder of clinical tables, or skip."""
    folder = Path(os.environ.get("GATEWAY_CLINICAL_DIR") or Path(__file__).parents[3] / "shared" / "clinical")
    if not folder.is_dir():
        pytest.skip("the clinical tables (GATEWAY_CLINICAL_DIR) are not here")
    return folder
