"""The shipped releases as an engine gets them, and a manifest for tiny graphs."""

from pathlib import Path

import msgspec
import pytest
from tiny_graphs import Release

from gateway.features.manifest import ModelManifest, Range, decode_manifest

ROOT = Path(__file__).parents[2]


def load(name: str) -> Release:
    """Return a shipped release without its checks."""
    folder = ROOT / "models" / name / "1.0.0"
    return Release(decode_manifest((folder / "manifest.toml").read_bytes()), (folder / "model.onnx").read_bytes())


@pytest.fixture(scope="session")
def shipped() -> dict[str, Release]:
    """Return the shipped releases by name."""
    return {name: load(name) for name in ("ckdepi2021", "prevent")}


@pytest.fixture(scope="session")
def sum_manifest(shipped) -> ModelManifest:
    """Return a manifest of the three inputs of CKD-EPI whose output may be from 0 to 500."""
    manifest = shipped["ckdepi2021"].manifest
    output = msgspec.structs.replace(manifest.outputs[0], valid_range=Range(low=0, high=500))
    return msgspec.structs.replace(manifest, name="sum", outputs=(output,))
