"""The end of the log: growing it by a batch, and proving on opening that it is what the head says."""

from collections.abc import Sequence

import msgspec

from gateway.audit.merkle import CompactRange, hash_leaf, join_tiles, split_by_tiles
from gateway.audit.seal import SealedRecord
from gateway.store import LogConnection, LogHead


class TailBroken(Exception):
    """The stored tail does not lead to the stored head: nothing may be appended."""


class LogRolledBack(TailBroken):
    """The database is an older copy than the one this process wrote to."""


def append_sealed(connection: LogConnection, head: LogHead, sealed: Sequence[SealedRecord]) -> tuple[LogHead, int]:
    """Insert a batch within the open transaction; return the new head and the index of the first record.

    `head` is what this process last saw; where another process has appended since, the stored head is taken.

    Raises:
        sqlite3.Error: the store failed; the transaction is to be rolled back.
        LogRolledBack: the stored head is smaller than the one last seen.
    """
    grown, nodes = grow(head, sealed)
    if not connection.move_head(head.size, grown):
        head = reload_head(connection, head)
        grown, nodes = grow(head, sealed)
        connection.move_head(head.size, grown)
    first = head.size
    connection.insert_records([(first + i, record.leaf_hash, record.header) for i, record in enumerate(sealed)])
    connection.insert_payloads([(first + i, record.payload) for i, record in enumerate(sealed)])
    connection.insert_tokens([(token, first + i) for i, record in enumerate(sealed) for token in record.tokens])
    connection.insert_nodes(nodes)
    return grown, first


def grow(head: LogHead, sealed: Sequence[SealedRecord]) -> tuple[LogHead, list[tuple[int, int, bytes]]]:
    """Return the head after a batch and the completed subtrees as rows. Pure."""
    tree = CompactRange.from_bytes(head.size, head.peaks)
    nodes = [(node.level, node.position, node.hash) for record in sealed for node in tree.append(record.leaf_hash)]
    return msgspec.structs.replace(head, size=tree.size, root=tree.root(), peaks=tree.peaks_bytes()), nodes


def load_head(connection: LogConnection) -> LogHead:
    """Return the stored head.

    Raises:
        TailBroken: there is none.
    """
    head = connection.load_head()
    if head is None:
        raise TailBroken("the log has no head")
    return head


def reload_head(connection: LogConnection, seen: LogHead) -> LogHead:
    """Return the stored head, which may only be ahead of the one last seen.

    Raises:
        LogRolledBack: it is not.
    """
    head = connection.load_head()
    if head is None or head.log_id != seen.log_id or head.size < seen.size or (head.size == seen.size and head.root != seen.root):
        raise LogRolledBack("the stored log is older than the one this process wrote to")
    return head


def tree_at(connection: LogConnection, size: int) -> CompactRange:
    """Rebuild the tree of the first `size` leaves from stored subtrees and at most 255 leaf hashes.

    Raises:
        TailBroken: rows are missing.
    """
    parts = [
        connection.load_nodes(level, start, stop) if level else connection.load_leaf_hashes(start, stop)
        for level, start, stop in split_by_tiles(size)
    ]
    try:
        return join_tiles(size, parts)
    except ValueError as error:
        raise TailBroken("records or subtree hashes at the end of the log are missing") from error


def verify_tail(connection: LogConnection, head: LogHead, seen: LogHead | None = None) -> None:
    """Prove that the last leaves and the stored subtrees give the head, and that a head seen earlier is a prefix of it.

    Raises:
        TailBroken: they do not, or there are records beyond the head.
    """
    tree = tree_at(connection, head.size)
    if tree.root() != head.root or tree.peaks_bytes() != head.peaks:
        raise TailBroken("the stored records do not lead to the stored head")
    for row in connection.load_records(head.size - head.size % 256):
        if row.index >= head.size:
            raise TailBroken("there are records beyond the head")
        if hash_leaf(row.header) != row.leaf_hash:
            raise TailBroken(f"record {row.index} was changed")
    if seen is not None and tree_at(connection, seen.size).root() != seen.root:
        raise LogRolledBack("the stored log does not continue the one this process wrote to")
