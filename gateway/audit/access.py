"""Which ACCESS records still lack their end: in this process, and those that a dead process left behind."""

from collections.abc import Iterable, Mapping

import msgspec
import orjson

from gateway.audit.record import ENDS_ACCESS, EventType, RecordDraft

AccessKey = tuple[str, str, str | None]


class OpenAccess(msgspec.Struct, frozen=True):
    """An ACCESS of this process without an end; its index is at least `index_min`."""

    rid: str
    index_min: int


class OpenAccesses:
    """The ACCESS records of this process without an end, found by request, tenant and patient. What a lost batch did can be undone."""

    def __init__(self) -> None:
        self._open: dict[AccessKey, tuple[OpenAccess, ...]] = {}
        self._journal: list[tuple[AccessKey, tuple[OpenAccess, ...]]] = []

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def note(self, draft: RecordDraft, rid: str, index_min: int) -> str | None:
        """Take a draft into account and return the rid that it follows: its own `caused_by`, else the oldest ACCESS that it ends."""
        key = (draft.request_id, draft.caller.tenant, draft.patient_id)
        if draft.type is EventType.ACCESS:
            self._put(key, (*self._open.get(key, ()), OpenAccess(rid, index_min)))
            return draft.caused_by
        if draft.type not in ENDS_ACCESS:
            return draft.caused_by
        entries = self._open.get(key, ())
        if draft.caused_by is None and entries:
            self._put(key, entries[1:])
            return entries[0].rid
        if draft.caused_by is not None:
            self._put(key, tuple(entry for entry in entries if entry.rid != draft.caused_by))
        return draft.caused_by

    def keep(self) -> None:
        """Make what was noted since the last call final."""
        self._journal.clear()

    def mark(self) -> int:
        """Return a point to which `undo` can go back."""
        return len(self._journal)

    def undo(self, mark: int = 0) -> None:
        """Take back what was noted since `mark`, or since the last `keep`: it was not written."""
        while len(self._journal) > mark:
            key, entries = self._journal.pop()
            self._set(key, entries)

    def index_min(self, otherwise: int) -> int:
        """Return an index below which every ACCESS of this process has its end."""
        return min((entry.index_min for entries in self._open.values() for entry in entries), default=otherwise)

    def _put(self, key: AccessKey, entries: tuple[OpenAccess, ...]) -> None:
        self._journal.append((key, self._open.get(key, ())))
        self._set(key, entries)

    def _set(self, key: AccessKey, entries: tuple[OpenAccess, ...]) -> None:
        if entries:
            self._open[key] = entries
        else:
            self._open.pop(key, None)


def find_abandoned(headers: Iterable[tuple[int, bytes]], boot_ids: frozenset[str]) -> list[tuple[int, Mapping[str, str | int]]]:
    """Return (index, header) of each ACCESS of those boots that no later record ends, in order."""
    open_accesses: dict[str, tuple[int, Mapping[str, str | int]]] = {}
    for index, header in headers:
        fields = orjson.loads(header)
        kind, caused_by = fields.get("type"), fields.get("caused_by")
        if kind == EventType.ACCESS and fields.get("boot_id") in boot_ids:
            open_accesses[fields["rid"]] = (index, fields)
        elif kind in ENDS_ACCESS and caused_by:
            open_accesses.pop(caused_by, None)
    return list(open_accesses.values())
