"""The shipped releases, loaded and tested as the gateway does at start."""

import os
from pathlib import Path

import pytest

from gateway.inference.engine import InProcessEngine
from gateway.registry import Release, admit_releases, load_code_sets
from gateway.terminology import Terminology

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def models_terminology() -> Terminology:
    """Return the packaged terminology, with what the releases bring."""
    return load_code_sets(ROOT / "models")


@pytest.fixture(scope="session")
def served(models_terminology: Terminology) -> tuple[dict[str, Release], InProcessEngine]:
    """Return the shipped releases by name and the engine that serves them."""
    engine = InProcessEngine()
    releases = admit_releases(ROOT / "models", engine, models_terminology)
    return {release.manifest.name: release for release in releases}, engine


@pytest.fixture(scope="session")
def vector_folder() -> Path | None:
    """Return the folder of all vector files, or None: then the vectors shipped with the models are used."""
    folder = Path(os.environ.get("GATEWAY_CLINICAL_DIR") or ROOT.parent / "shared" / "clinical")
    return folder if folder.is_dir() else None
