"""The Merkle tree of RFC 6962 section 2.1, as much of it as an append-only log needs. Pure."""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

HASH_BYTES = 32
TILE_HEIGHT = 8  # C2SP tlog-tiles: a tile covers 2^8 hashes of the level below
TILE_WIDTH = 1 << TILE_HEIGHT
ROOT_OF_NOTHING = hashlib.sha256(b"").digest()


def hash_leaf(entry: bytes) -> bytes:
    """Return the leaf hash SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the node hash SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Node(msgspec.Struct, frozen=True):
    """The root of a complete subtree of 2^level leaves, the position-th of its level."""

    level: int
    position: int
    hash: bytes


class CompactRange:
    """The peaks of a growing tree: all that is needed to append and to know the tree head."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError("a tree has one peak for each one bit of its size")
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def from_bytes(cls, size: int, peaks: bytes) -> "CompactRange":
        """Rebuild from `peaks_bytes`.

        Raises:
            ValueError: the number of peaks does not fit the size.
        """
        if len(peaks) % HASH_BYTES:
            raise ValueError("peaks are whole hashes")
        return cls(size, [peaks[i : i + HASH_BYTES] for i in range(0, len(peaks), HASH_BYTES)])

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """Return the roots of the perfect subtrees, largest first."""
        return tuple(self._peaks)

    def peaks_bytes(self) -> bytes:
        """Return the peaks, largest subtree first, joined."""
        return b"".join(self._peaks)

    def append(self, leaf_hash: bytes) -> tuple[Node, ...]:
        """Add a leaf and return the completed subtrees at the heights of tiles (8, 16, ...), lowest first."""
        completed: list[Node] = []
        node, size = leaf_hash, self.size
        level = 0
        while (size >> level) & 1:
            node = hash_node(self._peaks.pop(), node)
            level += 1
            if level % TILE_HEIGHT == 0:
                completed.append(Node(level, size >> level, node))
        self._peaks.append(node)
        self.size = size + 1
        return tuple(completed)

    def root(self) -> bytes:
        """Return the tree head (RFC 6962: MTH)."""
        if not self._peaks:
            return ROOT_OF_NOTHING
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = hash_node(peak, root)
        return root


def hash_tree(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the tree head of leaf hashes."""
    tree = CompactRange()
    for leaf in leaf_hashes:
        tree.append(leaf)
    return tree.root()


def split_by_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, start, stop): which completed subtrees and which last leaves make up a tree of `size`, largest first.

    At level 0 these are leaves; every other level is a multiple of the tile height.
    """
    level = 0
    while size >> (level + TILE_HEIGHT):
        level += TILE_HEIGHT
    covered = 0
    while level >= 0:
        stop = size >> level
        yield level, covered, stop
        covered = stop << TILE_HEIGHT
        level -= TILE_HEIGHT


def join_tiles(size: int, parts: Sequence[Sequence[bytes]]) -> CompactRange:
    """Return the compact range of a tree from the hashes named by `split_by_tiles`, in its order.

    Raises:
        ValueError: hashes are missing.
    """
    peaks: list[bytes] = []
    for (_, start, stop), hashes in zip(split_by_tiles(size), parts, strict=True):
        if len(hashes) != stop - start:
            raise ValueError("hashes are missing")
        within = CompactRange()
        for value in hashes:
            within.append(value)
        peaks.extend(within.peaks)
    return CompactRange(size, peaks)
