"""Copies of the shipped releases that a test may damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from release_keys import KEY

from gateway.registry import Release, load_code_sets, load_release
from gateway.registry.folder import vouch_for
from gateway.terminology import Terminology

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="session")
def known() -> Terminology:
    """Return the packaged terminology, with what the shipped releases bring."""
    return load_code_sets(MODELS)


@pytest.fixture
def copy_of(tmp_path) -> Callable[[str], Path]:
    """Return a function that copies a shipped release and returns the copy's folder."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(MODELS / name / "1.0.0", tmp_path / "models" / name / "1.0.0"))

    return copy


@pytest.fixture(scope="session")
def ckdepi(known) -> Release:
    """Return the shipped eGFR release, checked and loaded but not run."""
    return load_release(MODELS / "ckdepi2021" / "1.0.0", known)


@pytest.fixture(scope="session")
def prevent_release(known) -> Release:
    """Return the shipped PREVENT release, checked and loaded but not run."""
    return load_release(MODELS / "prevent" / "1.0.0", known)


@pytest.fixture
def rehash() -> Callable[[Path], None]:
    """Return a function that writes the hashes of a changed release anew and signs them with the tests' own key."""
    return lambda folder: vouch_for(folder, KEY)
