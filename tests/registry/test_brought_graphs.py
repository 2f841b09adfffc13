"""Graphs that tools export, and releases without one: what must agree before anything runs; and which version is served."""

import re

import pytest
from brought_release import PUBLIC_KEY, REMOTE, write_release

from gateway.inference.engine import InProcessEngine
from gateway.registry import FileRefused, GraphRefused, ManifestRefused, VectorsRefused, admit, load_release, load_releases

TRUSTED = {PUBLIC_KEY}
OPTIONAL = {
    'name = "heart_rate"\n': 'name = "heart_rate"\noptional = true\n',
    'needs = ["age", "creatinine", "heart_rate"]': 'needs = ["age", "creatinine"]',
}
REFUSED = [
    # what is changed in the manifest, which refusal, and what it says
    ({"index = 1": "index = 2"}, GraphRefused, "is not float32 [N, more than 2]"),
    ({'"probabilities"': '"label"'}, GraphRefused, "the output label is not float32"),
    ({'"probabilities"': '"risk"'}, GraphRefused, "there is no output risk"),
    ({'packed_tensor = "X"': 'packed_tensor = "Y"'}, GraphRefused, "stands only in the"),
    ({'packed_tensor = "X"\n': ""}, GraphRefused, "stands only in the"),
    ({'element = "float32"': 'element = "float64"'}, GraphRefused, "the input X is not float64 [N, 3]"),
    ({'needs = ["age", "creatinine", "heart_rate"]': 'needs = ["age"]'}, ManifestRefused, "needs every input that is not optional"),
    (
        {'packed_tensor = "X"': 'packed_tensor = "X"\napplicable_tensor = "applicable"'},
        ManifestRefused,
        "are for graphs without applicable",
    ),
    ({'element = "float32"': 'element = "float32"\nbackend = "remote"'}, FileRefused, "another server runs the model"),
]


@pytest.mark.parametrize(("changed", "refusal", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_manifest_and_graph_must_agree(tmp_path, known, changed, refusal, words):
    """Found when the release is loaded, and told with the place."""
    with pytest.raises(refusal, match=re.escape(words)):
        load_release(write_release(tmp_path, changed=changed), known, TRUSTED)


def test_a_release_without_a_graph_must_say_who_runs_it(tmp_path, known):
    """Only a remote model has none."""
    folder = write_release(tmp_path / "remote", changed=REMOTE)
    assert not (folder / "model.onnx").exists()
    remote = load_release(folder, known, TRUSTED)
    assert (remote.graph, remote.certified, len(remote.identity.graph_sha256)) == (b"", False, 64)


def test_what_a_graph_says_without_an_optional_input_must_be_shown(tmp_path, known):
    """It is not withheld then, so its vectors must hold a row without it; here none is."""
    folder = write_release(tmp_path, changed=OPTIONAL)
    with pytest.raises(VectorsRefused, match="no row shows what the model says without heart_rate_per_min"):
        admit(load_release(folder, known, TRUSTED), InProcessEngine(), known)


def test_a_brought_graph_is_never_certified_for_the_server_process(tmp_path, known, ckdepi):
    """A shipped one is."""
    assert not load_release(write_release(tmp_path), known, TRUSTED).certified
    assert ckdepi.certified


def test_the_highest_version_is_the_one_that_is_served(tmp_path, known):
    """By number, not by spelling."""
    for version in ("0.9.0", "0.10.0", "0.2.0"):
        write_release(tmp_path, version=version)
    assert [release.manifest.version for release in load_releases(tmp_path, known, TRUSTED)] == ["0.10.0"]


@pytest.mark.parametrize("version", ["latest", "1.0.0-rc1", "v1", "1..0"])
def test_a_folder_that_is_no_version_is_refused(tmp_path, known, version):
    """Which of two is newer must never be a guess."""
    write_release(tmp_path)
    write_release(tmp_path, version=version)
    with pytest.raises(FileRefused, match="is no version"):
        load_releases(tmp_path, known, TRUSTED)


def test_two_spellings_of_one_version_are_refused(tmp_path, known):
    """`1.0` and `1.00` would be the same."""
    write_release(tmp_path, version="1.0")
    write_release(tmp_path, version="1.00")
    with pytest.raises(FileRefused, match="is the same version as"):
        load_releases(tmp_path, known, TRUSTED)
