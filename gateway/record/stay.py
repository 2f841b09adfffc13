"""Encounters become stays: when, and in which care setting."""

from gateway.record.drop import DropReason
from gateway.record.received import Reading, source_of
from gateway.record.resource import Encounter
from gateway.record.values import Stay

NEVER_HAPPENED = frozenset({"planned", "cancelled", "entered-in-error"})  # encounter-status: no contact took place


def read_encounter(reading: Reading, encounter: Encounter, resource_id: str, raw: bytes) -> Stay | None:
    """Return the stay, or None when it is another patient's or did not take place. `setting` is None for an unknown class."""
    if not reading.may_use(encounter, encounter.subject, resource_id):
        return None
    if encounter.status in NEVER_HAPPENED:
        reading.drop("Encounter", resource_id, DropReason.STATUS, encounter.status or "")
        return None
    kind, period = encounter.class_, encounter.period
    return Stay(
        source=source_of(encounter, resource_id, raw),
        status=encounter.status or "unknown",
        setting=reading.terminology.care_setting(kind.system or "", kind.code or "") if kind is not None else None,
        class_code=kind.code or "" if kind is not None else "",
        priority=tuple(coding.code for coding in encounter.priority.coding if coding.code) if encounter.priority is not None else (),
        start=reading.time(encounter, resource_id, "period.start", period.start) if period is not None else None,
        end=reading.time(encounter, resource_id, "period.end", period.end) if period is not None else None,
    )
