"""The signature of a release: who vouches, for which files of which release, and what hashes and vectors alone would let through."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from release_keys import KEY, TRUSTED

from gateway.registry import SHIPPED_KEYS, FileRefused, load_code_sets, load_release, sign_release
from gateway.registry.folder import hash_release

ROOT = Path(__file__).parents[2]
FLIPS = 400
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def change_a_limit(folder: Path) -> None:
    manifest = folder / "manifest.toml"
    manifest.write_bytes(manifest.read_bytes().replace(b"low = 18", b"low = 12", 1))


def test_every_shipped_release_is_signed_by_the_pinned_key():
    """By that key alone: no key of a test is among them."""
    known = load_code_sets(ROOT / "models")
    folders = sorted(path.parent for path in (ROOT / "models").glob("*/*/manifest.toml"))
    assert len(folders) == 8
    assert all(load_release(folder, known).identity.name == folder.parent.name for folder in folders)
    assert KEY.public_key().public_bytes_raw().hex() not in SHIPPED_KEYS


def without(folder: Path) -> None:
    (folder / "SHA256SUMS.sig").unlink()


def hashed_only(folder: Path) -> None:
    change_a_limit(folder)
    hash_release(folder)


def signed_by_a_stranger(folder: Path) -> None:
    change_a_limit(folder)
    (folder / "SHA256SUMS.sig").write_bytes(sign_release(STRANGER, folder.parent.name, folder.name, hash_release(folder)))


def signed_for_another_version(folder: Path) -> None:
    (folder / "SHA256SUMS.sig").write_bytes(sign_release(KEY, folder.parent.name, "2.0.0", (folder / "SHA256SUMS").read_bytes()))


def signed_without_its_purpose(folder: Path) -> None:
    (folder / "SHA256SUMS.sig").write_text(KEY.sign((folder / "SHA256SUMS").read_bytes()).hex() + "\n")


def in_capitals(folder: Path) -> None:
    path = folder / "SHA256SUMS.sig"
    path.write_text(path.read_text().upper())


def cut_short(folder: Path) -> None:
    path = folder / "SHA256SUMS.sig"
    path.write_bytes(path.read_bytes()[2:])


@pytest.mark.parametrize(
    "damage",
    [without, hashed_only, signed_by_a_stranger, signed_for_another_version, signed_without_its_purpose, in_capitals, cut_short],
)
def test_whatever_no_trusted_key_vouches_for_is_refused(copy_of, known, damage):
    """Before anything in it is decoded: the codes it brings are read by the same rule."""
    folder = copy_of("cha2ds2vasc")
    damage(folder)
    with pytest.raises(FileRefused, match=r"cha2ds2vasc/1\.0\.0/SHA256SUMS\.sig"):
        load_release(folder, known, TRUSTED)
    with pytest.raises(FileRefused, match=r"cha2ds2vasc/1\.0\.0/SHA256SUMS\.sig"):
        load_code_sets(folder.parents[1], TRUSTED)


@pytest.mark.parametrize("names", [["model.onnx"], ["SHA256SUMS.sig"], ["SHA256SUMS", "SHA256SUMS.sig"], None], ids=str)
def test_nothing_can_be_taken_from_another_signed_release(copy_of, known, names):
    """One file, the signature, the list with its signature, or the whole folder under the other's name."""
    one, other = copy_of("fib4"), copy_of("meld3")
    for path in sorted(other.iterdir()):
        if names is None or path.name in names:
            shutil.copy(path, one / path.name)
    with pytest.raises(FileRefused, match=r"fib4/1\.0\.0"):
        load_release(one, known)


def test_a_hospital_s_own_key_counts_only_where_it_is_trusted(copy_of, known, rehash):
    """The same folder: refused with the pinned keys alone, loaded with the hospital's key among them."""
    folder = copy_of("fib4")
    rehash(folder)
    with pytest.raises(FileRefused, match="no trusted key"):
        load_release(folder, known)
    assert load_release(folder, known, TRUSTED).identity.name == "fib4"


@pytest.mark.parametrize(("model", "at_least"), [("ckdepi2021", 300), ("prevent", 50)])
def test_what_a_graph_and_its_vectors_would_notice_alone(copy_of, figure, model, at_least):
    """Hashes and signature made to fit after each flipped bit: what is left to notice it. Most low bits of a coefficient nobody would."""
    folder = copy_of(model)
    command = [sys.executable, str(Path(__file__).parent / "flip_graph.py"), str(folder), str(FLIPS)]
    told = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
    counts = json.loads(told.stdout.splitlines()[-1])
    figure(f"{model}, {FLIPS} flipped bits with hashes made to fit: refused by the graph's form {counts['form']}, "
           f"by the vectors {counts['vectors']}, by nothing {counts['nothing']}")  # fmt: skip
    assert sum(counts.values()) == FLIPS
    assert counts["form"] + counts["vectors"] >= at_least
