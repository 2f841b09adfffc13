"""A release folder: complete, unlinked, unchanged, and in the right order; everything else is refused with place and reason."""

import os
import random
import shutil

import pytest
from release_keys import TRUSTED

from gateway.registry import FileRefused, ManifestRefused, ReleaseRefused, VectorsRefused, admit_releases, load_release, load_releases
from gateway.registry.folder import FILE_BYTES_MAX
from gateway.registry.release import in_order

FLIPS_PER_FILE = 400
NAMES = {
    "ckdepi2021": ["SHA256SUMS", "SHA256SUMS.sig", "applicability_vectors.csv", "card.toml", "manifest.toml", "model.onnx", "vectors.csv"],
    "prevent": [
        "SHA256SUMS", "SHA256SUMS.sig", "applicability_vectors.csv", "card.toml", "coefficients.csv",
        "fallback_vectors.csv", "manifest.toml", "model.onnx", "vectors.csv",
    ],
}  # fmt: skip


def test_the_shipped_releases_load_in_the_order_in_which_they_read_each_other(copy_of, known):
    """The eGFR stands before the model that reads it; identity is name, version and two hashes."""
    folder = copy_of("prevent")
    copy_of("ckdepi2021")
    releases = load_releases(folder.parents[1], known, TRUSTED)
    assert [release.manifest.name for release in releases] == ["ckdepi2021", "prevent"]
    for release in releases:
        assert sorted(release.files) == NAMES[release.manifest.name]
        assert len(release.identity.graph_sha256) == len(release.identity.manifest_sha256) == 64
        assert (release.identity.name, release.identity.version, release.identity.runtime) == (release.manifest.name, "1.0.0", "")


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, names in NAMES.items() for name in names])
def test_one_flipped_bit_in_any_file_refuses_the_release(copy_of, known, model, name):
    """The same bits every time, drawn over the whole file."""
    path = copy_of(model) / name
    whole = path.read_bytes()
    draw = random.Random(f"{model}/{name}")
    for bit in draw.sample(range(len(whole) * 8), FLIPS_PER_FILE):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ReleaseRefused, match=model):
            load_release(path.parent, known, TRUSTED)
    path.write_bytes(whole)
    load_release(path.parent, known, TRUSTED)


def add_file(folder):
    (folder / "notes.txt").write_text("hello", encoding="utf-8")


def add_folder(folder):
    (folder / "more").mkdir()


def remove_vectors(folder):
    (folder / "vectors.csv").unlink()


def remove_sums(folder):
    (folder / "SHA256SUMS").unlink()


def link_graph(folder):
    target = folder.parents[2] / "elsewhere.onnx"
    shutil.move(folder / "model.onnx", target)
    (folder / "model.onnx").symlink_to(target)


def link_graph_hard(folder):
    os.link(folder / "model.onnx", folder.parents[2] / "elsewhere.onnx")


def make_pipe(folder):
    (folder / "vectors.csv").unlink()
    os.mkfifo(folder / "vectors.csv")


def list_twice(folder):
    sums = folder / "SHA256SUMS"
    sums.write_bytes(sums.read_bytes() + sums.read_bytes().splitlines(keepends=True)[0])


def no_line_feed(folder):
    sums = folder / "SHA256SUMS"
    sums.write_bytes(sums.read_bytes()[:-1])


def list_a_path(folder):
    sums = folder / "SHA256SUMS"
    sums.write_bytes(sums.read_bytes() + b"0" * 64 + b"  ../prevent\n")


def too_large(folder):
    (folder / "vectors.csv").write_bytes(b"x" * (FILE_BYTES_MAX + 1))


def too_many(folder):
    for number in range(40):
        (folder / f"file{number}").write_bytes(b"")


DAMAGE = [
    add_file, add_folder, remove_vectors, remove_sums, link_graph, link_graph_hard, make_pipe, list_twice, no_line_feed, list_a_path,
    too_large, too_many,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_folder_that_is_not_exactly_the_release_is_refused(copy_of, known, damage):
    """Missing, additional, linked, listed twice, too large: refused before anything is decoded."""
    folder = copy_of("ckdepi2021")
    damage(folder)
    with pytest.raises(FileRefused) as refusal:
        load_release(folder, known, TRUSTED)
    assert refusal.value.place.startswith("ckdepi2021/1.0.0/")


def test_a_linked_folder_is_refused(copy_of, known, tmp_path):
    """What a link points to can change from outside."""
    folder = copy_of("ckdepi2021")
    other = tmp_path / "other" / "ckdepi2021"
    other.mkdir(parents=True)
    (other / "1.0.0").symlink_to(folder, target_is_directory=True)
    with pytest.raises(FileRefused):
        load_release(other / "1.0.0", known, TRUSTED)


# what is replaced in a manifest, by what, words of the refusal
MANIFESTS = [
    ('version = "1.0.0"', 'version = "1.0.1"', "folders"),
    ("schema_version = 1", "schema_version = 2", "schema_version"),
    ("schema_version = 1", "schema_version = 1\nsurprise = true", "surprise"),
    ("dsi_class = ", "dsi_class = [", "manifest.toml"),
    ('concept = "creatinine"', 'concept = "creatinin"', "creatinin"),
    ("index = 0", "index = 1", "indices"),
    ('tensor = "creatinine_mg_dl"', 'tensor = "creatinine"', "only in the manifest|only in the graph"),
    ('result_tensor = "egfr"', 'result_tensor = "gfr"', "outputs"),
]


@pytest.mark.parametrize(("old", "new", "words"), MANIFESTS)
def test_a_manifest_that_does_not_fit_is_refused_although_its_hash_is_right(copy_of, known, rehash, old, new, words):
    """Unknown keys, wrong types, unknown concepts, another version than the folder's, another signature than the graph's."""
    folder = copy_of("ckdepi2021")
    path = folder / "manifest.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    rehash(folder)
    with pytest.raises(ReleaseRefused, match=words):
        load_release(folder, known, TRUSTED)


def test_a_model_without_the_model_it_reads_is_refused(copy_of, known):
    """So is one that reads itself through another, and a second release of the same name."""
    folder = copy_of("prevent")
    with pytest.raises(ManifestRefused, match="ckdepi2021"):
        load_releases(folder.parents[1], known, TRUSTED)
    release = load_release(folder, known, TRUSTED)
    with pytest.raises(ManifestRefused, match="more than one"):
        in_order([release, release])


def test_an_empty_folder_serves_nothing_and_says_so(tmp_path, known):
    """A gateway without models is a mistake, not a state."""
    with pytest.raises(FileRefused, match="0 releases"):
        load_releases(tmp_path, known, TRUSTED)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("118.1796", "118.1897", "43 of 44 .*CKDEPI-002"), ("118.1796", "", "43 of 44 .*withheld"), ("0.0051", "", "0 of 44")],
)
def test_a_release_of_which_one_vector_fails_is_not_served(copy_of, known, rehash, old, new, words):
    """With right hashes: the engine refuses it in its self-test, with the count and the row."""
    from gateway.inference.engine import InProcessEngine  # noqa: PLC0415 - registry and runtime meet in this test only

    folder = copy_of("ckdepi2021")
    path = folder / "vectors.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    rehash(folder)
    engine = InProcessEngine()
    with pytest.raises(VectorsRefused, match=words):
        admit_releases(folder.parents[1], engine, known, TRUSTED)
    assert engine.models == ()
