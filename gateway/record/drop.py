"""Why a resource, or one of its elements, is not used: a closed list of stable reasons, some followed by `:detail`."""

import enum

from gateway.record.values import Dropped


class DropReason(enum.StrEnum):
    """The reasons. A detail is a FHIR element or code of our own list, never a value of the patient."""

    NOT_A_RESOURCE = "not-a-resource"  # not JSON, not an object, or without resourceType
    UNREADABLE = "unreadable"  # an element that decides over the whole resource has the wrong form; `:element`
    UNREADABLE_ELEMENT = "unreadable-element"  # one element has the wrong form and is left out; `:element`
    UNREADABLE_TIME = "unreadable-time"  # a date or time that is none; `:element`
    OTHER_PATIENT = "other-patient"
    NO_SUBJECT = "no-subject"
    FOCUS_ELSEWHERE = "focus-on-someone-else"
    MODIFIER_EXTENSION = "unknown-modifier-extension"
    IMPLICIT_RULES = "implicit-rules"
    STATUS = "status"  # says that it did not happen or is wrong; `:status`
    VERIFICATION = "verification"  # `:refuted`, `:entered-in-error`
    DO_NOT_PERFORM = "do-not-perform"
    OLDER_COPY = "older-copy"  # the same type and id came more than once with different content


def dropped(resource: str, reason: DropReason, detail: str = "") -> Dropped:
    """Return the entry for the list of what was not used."""
    return Dropped(resource, f"{reason}:{detail}" if detail else reason.value)
