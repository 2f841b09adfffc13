"""Sealing on the caller's thread, where every key is at hand.

The writer's thread and the caller's take turns with the interpreter lock, and every encryption hands it over: under load the turns cost
more than the work. So records whose keys are known to be stored are sealed before they are queued; the writer seals the rest as it comes to
them. Only keys of committed transactions are used here: a key whose transaction is undone never existed.
"""

import threading
from collections.abc import Mapping, Sequence

from gateway.audit.keys import Keyring
from gateway.audit.kms import NONCE_BYTES
from gateway.audit.record import ENDS_ACCESS, Entropy, EventType, RecordDraft, RidMaker
from gateway.audit.seal import Instant, Origin, SealedRecord, patient_of, seal_record
from gateway.clock import Clock


class Presealer:
    """Seals on one caller's thread. `keyring` is read only for keyed hashes and for what it shares after commits."""

    def __init__(self, keyring: Keyring, origin: Origin, clock: Clock) -> None:
        self._keyring = keyring
        self._origin = origin
        self._clock = clock
        self._rids = RidMaker()
        self._nonces = Entropy()
        self._lock = threading.Lock()  # several event loops may share one log; ids and nonces are drawn by one of them at a time

    def seal(self, drafts: Sequence[RecordDraft]) -> tuple[SealedRecord, ...] | None:
        """Return the sealed records, or None when a key, or what a record follows, is only known to the writer.

        Raises:
            ValueError: a header or payload is larger than its limit.
        """
        with self._lock:
            return self._seal(drafts, Instant.of(self._clock))

    def _seal(self, drafts: Sequence[RecordDraft], instant: Instant) -> tuple[SealedRecord, ...] | None:
        accesses: dict[tuple[str, str, str | None], str] = {}
        sealed = []
        for draft in drafts:
            keys = self._keyring.shared_keys(draft.caller.tenant, patient_of(draft), instant.month)
            follows = _follows(draft, accesses)
            if keys is None or follows is None:
                return None
            rid = draft.rid or self._rids.make(instant.at)
            sealed.append(seal_record(self._keyring, draft, (rid, follows), keys, (self._origin, instant, self._nonces.take(NONCE_BYTES))))
            if draft.type is EventType.ACCESS:
                accesses[draft.request_id, draft.caller.tenant, draft.patient_id] = rid
        return tuple(sealed)


def _follows(draft: RecordDraft, accesses: Mapping[tuple[str, str, str | None], str]) -> str | None:
    """Return the rid that a record follows, "" for none, None when only the writer can know."""
    if draft.caused_by or draft.type not in ENDS_ACCESS:
        return draft.caused_by or ""
    return accesses.get((draft.request_id, draft.caller.tenant, draft.patient_id))
