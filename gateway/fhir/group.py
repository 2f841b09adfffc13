"""The groups of a patient's record and the state in which each arrived.

"Searched and nothing there" is a finding; "could not be fetched" and "not allowed to see" are not (rules 3). A group that is not
`COMPLETE` never lets anyone conclude that something is absent.
"""

import enum
from collections.abc import Mapping

import msgspec


class Group(enum.StrEnum):
    """One part of a record that is fetched, and may fail, as a whole."""

    PATIENT = "patient"
    VITAL_SIGNS = "vital-signs"
    LABORATORY = "laboratory"
    SOCIAL_HISTORY = "social-history"
    CONDITIONS = "conditions"
    MEDICATIONS = "medications"
    MEDICATION_STATEMENTS = "medication-statements"
    ENCOUNTERS = "encounters"
    PROCEDURES = "procedures"


OBSERVATION_GROUPS = frozenset({Group.VITAL_SIGNS, Group.LABORATORY, Group.SOCIAL_HISTORY})


class GroupState(enum.StrEnum):
    """How a group arrived."""

    COMPLETE = "complete"  # searched, and everything that matched is here
    INCOMPLETE = "incomplete"  # something is here, but more may exist (cap, lost page, missing total)
    NOT_FETCHED = "not-fetched"  # asked, and the server failed or time ran out
    NOT_ALLOWED = "not-allowed"  # asked, and the server refused (401, 403)
    NOT_SEARCHED = "not-searched"  # nobody asked: an inline record that is not declared complete


class RecordPart(msgspec.Struct, frozen=True, kw_only=True):
    """What one search (or one prefetch key, or a whole inline Bundle) brought.

    `resources` are the raw JSON bytes of single resources, as received; `full_urls`, where given, has one entry per resource
    (empty = none). `state` holds for every group in `groups`; `why` says in our own words why a group is not complete (no PHI, no
    server text).
    """

    groups: tuple[Group, ...]
    state: GroupState
    resources: tuple[bytes, ...] = ()
    full_urls: tuple[str, ...] = ()
    decoded: tuple[msgspec.Struct, ...] = ()
    why: str = ""


class FetchedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was received about one patient, before any of it is understood.

    `base_url` is the tenant's FHIR base against which references become absolute; None for an inline record without one.
    """

    patient_id: str
    parts: tuple[RecordPart, ...]
    base_url: str | None = None
    declared_complete: bool = True
    aliases: Mapping[str, str] = {}  # fullUrl of a Bundle entry (urn:uuid or absolute) -> `Type/id`
