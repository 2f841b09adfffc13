"""The tree is that of RFC 6962."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.merkle import CompactRange, hash_leaf, hash_tree, join_tiles, split_by_tiles

# The reference inputs and roots of Certificate Transparency (google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc).
ENTRIES = tuple(
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
)
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def slow_root(entries: list[bytes]) -> bytes:
    """The definition of RFC 6962 2.1, word for word and independent of the code under test."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return hashlib.sha256(b"\x01" + slow_root(entries[:split]) + slow_root(entries[split:])).digest()


@pytest.mark.parametrize(("size", "root"), list(enumerate(ROOTS, start=1)))
def test_reference_roots(size: int, root: str) -> None:
    """The eight reference trees give the published roots."""
    assert hash_tree([hash_leaf(entry) for entry in ENTRIES[:size]]).hex() == root


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    """RFC 6962: the hash of an empty list is the hash of an empty string."""
    assert CompactRange().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", [*range(301), 511, 512, 513, 1000])
def test_growing_gives_the_root_of_the_definition(size: int) -> None:
    """Leaf by leaf or all at once, the root is the one of the recursive definition."""
    entries = [str(number).encode() for number in range(size)]
    tree = CompactRange()
    for entry in entries:
        tree.append(hash_leaf(entry))
    assert tree.root() == slow_root(entries)
    assert CompactRange.from_bytes(size, tree.peaks_bytes()).root() == tree.root()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 300, 65_535, 65_536, 65_537, 66_049])
def test_a_tree_is_rebuilt_from_the_hashes_of_its_tiles(size: int) -> None:
    """The completed subtrees of 2^8 and 2^16 leaves and the last leaves give the same peaks as all leaves."""
    tree = CompactRange()
    stored: dict[int, list[bytes]] = {0: [], 8: [], 16: []}
    for number in range(size):
        leaf = hash_leaf(number.to_bytes(4, "big"))
        stored[0].append(leaf)
        for node in tree.append(leaf):
            assert node.position == len(stored[node.level])
            stored[node.level].append(node.hash)
    rebuilt = join_tiles(size, [stored[level][start:stop] for level, start, stop in split_by_tiles(size)])
    assert rebuilt.peaks == tree.peaks
    assert rebuilt.root() == tree.root()


@given(st.integers(min_value=0, max_value=2**40))
def test_tiles_cover_every_leaf_once(size: int) -> None:
    """The parts of a tree cover its leaves without a gap, and no part but the topmost has more than 255 hashes."""
    parts = list(split_by_tiles(size))
    covered = 0
    for level, start, stop in parts:
        assert start << level == covered
        covered = stop << level
        assert stop - start <= 255
    assert covered == size


def test_missing_hashes_are_refused() -> None:
    """A part that is too short is no tree."""
    with pytest.raises(ValueError, match="missing"):
        join_tiles(3, [[b"\x00" * 32] * 2])
    with pytest.raises(ValueError, match="peak"):
        CompactRange(3, [b"\x00" * 32])
