"""The shipped releases, loaded and tested as the gateway does at start."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.inference.engine import InProcessEngine
from gateway.inference.runtime import Runtime, RuntimePlan, open_workers
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
def served_by_worker(models_terminology: Terminology) -> Iterator[tuple[dict[str, Release], Runtime]]:
    """Give the shipped releases by name and a runtime in which even tiny graphs run in a worker."""
    plan = RuntimePlan(placement="worker")
    with open_workers(plan) as workers:
        runtime = Runtime(plan, workers)
        releases = admit_releases(ROOT / "models", runtime, models_terminology)
        yield {release.manifest.name: release for release in releases}, runtime
        runtime.close_loader()


@pytest.fixture(scope="session")
def vector_folder() -> Path | None:
    """Return the folder of all vector files, or None: then the vectors shipped with the models are used."""
    folder = Path(os.environ.get("GATEWAY_CLINICAL_DIR") or ROOT.parent / "shared" / "clinical")
    return folder if folder.is_dir() else None
