"""Copies of the shipped releases that a test may damage."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from release_keys import KEY

from gateway.registry import Release, load_code_sets, load_release, sign_release
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

    def write(folder: Path) -> None:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("SHA256SUMS"))
        lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        sums = "".join(lines).encode("ascii")
        (folder / "SHA256SUMS").write_bytes(sums)
        (folder / "SHA256SUMS.sig").write_bytes(sign_release(KEY, folder.parent.name, folder.name, sums))

    return write
