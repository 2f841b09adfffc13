"""Lint: the place, what was expected there, and an example; the template is sound; the schema is the one of the types."""

import shutil
from pathlib import Path

import msgspec
import pytest

from gateway.registry.lint import TEMPLATE, lint_manifest, lint_release, manifest_schema, new_release

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "models").glob("*/*/manifest.toml"))

# what is written instead of what, and what is said about it
MISTAKES = {
    "another kind": ('unit = "mg/dL"', "unit = 5", 'inputs[1].unit: expected text, found a whole number; for example: unit = "mg/dL"'),
    "an unknown operator": (
        'operator = "newest"',
        'operator = "newset"',
        "inputs[1].feature.operator: invalid value 'newset'; for example:",
    ),
    "an unknown word": ('scale = "probability"', 'scale = "points"', "outputs[0].scale: invalid enum value 'points'; for example:"),
    "a misspelt key": ("decimals = 0", "decimal = 0", "outputs[0].decimal: is no key here; expected one of: name, index, label"),
    "a missing key": ('doi = ""', "", 'doi: is missing; for example: doi = ""'),
    "text for a number": ("high = 1.01", 'high = "1"', "outputs[0].bands[0].high: expected a number, found text; for example: high = 1.01"),
    "no TOML": ("schema_version = 1", "schema_version = ", "expected TOML"),
    "an impossible range": ("{ low = 0.3, high = 15.0 }", "{ low = 15.0, high = 0.3 }", "inputs[1].model_range: a range needs low <= high"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_an_example(name):
    """One mistake each in a manifest that is otherwise sound."""
    right, wrong, says = MISTAKES[name]
    text = TEMPLATE.read_text(encoding="utf-8")
    assert right in text
    (told,), manifest = lint_manifest(text.replace(right, wrong, 1).encode())
    assert manifest is None
    assert says in told


def test_the_template_is_a_sound_manifest(tmp_path, known):
    """What is missing is what nobody can write for the author: a graph, and rows."""
    folder = new_release(tmp_path, "mine")
    assert lint_release(folder, known) == ("model.onnx: is missing", "vectors.csv: holds no row")
    with pytest.raises(FileExistsError):
        new_release(tmp_path, "mine")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parts[-3])
def test_nothing_is_wrong_with_what_is_shipped(path, known):
    """Every shipped release."""
    assert lint_release(path.parent, known) == ()


def test_what_does_not_fit_together_is_told(tmp_path, known):
    """A concept nobody knows, a graph of another model, a folder of another name."""
    folder = Path(shutil.copytree(ROOT / "models" / "fib4", tmp_path / "fib5")) / "1.0.0"
    shutil.copy(ROOT / "models" / "meld3" / "1.0.0" / "model.onnx", folder)
    manifest = folder / "manifest.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('concept = "alt"', 'concept = "alat"'), encoding="utf-8")
    told = "\n".join(lint_release(folder, known))
    assert "expected those of the folders, fib5/1.0.0" in told
    assert "the terminology does not know alat" in told
    assert "model.onnx" in told


def test_the_published_schema_is_the_one_of_the_types():
    """docs/manifest.schema.json is generated; it knows every key of the shipped manifests, and refuses others."""
    published = msgspec.json.decode((ROOT / "docs" / "manifest.schema.json").read_bytes())
    assert published == msgspec.json.decode(msgspec.json.encode(manifest_schema()))
    definitions = manifest_schema()["$defs"]
    for path in MANIFESTS:
        manifest = msgspec.toml.decode(path.read_bytes())
        for kind, given in (("ModelManifest", [manifest]), ("InputSpec", manifest["inputs"]), ("OutputSpec", manifest["outputs"])):
            assert all(definitions[kind]["properties"].keys() >= one.keys() for one in given)
            assert all(set(definitions[kind]["required"]) <= one.keys() for one in given)
            assert definitions[kind]["additionalProperties"] is False
