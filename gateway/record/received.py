"""What the readers of single resource types share: the resource, where it came from, and the list of what was not used."""

import hashlib
from collections.abc import Mapping

import msgspec

from gateway.record.drop import DropReason, dropped
from gateway.record.fhir_time import parse_time
from gateway.record.reference import Identity
from gateway.record.resource import CodeableConcept, Reference, Resource
from gateway.record.values import Dropped, FhirTime, SourceRef
from gateway.terminology import Code, Terminology

UNKNOWN_ID = "?"


class Reading(msgspec.Struct, kw_only=True):
    """One reading of one record: whose it is, what codes mean, and the growing list of what was not used."""

    identity: Identity
    terminology: Terminology
    observed: Mapping[tuple[str | None, str | None], tuple[str, ...]]  # coding -> concepts that carry a value, containers left out
    drops: list[Dropped] = []

    def drop(self, resource_type: str, resource_id: str, reason: DropReason, detail: str = "") -> None:
        """Note that something is not used."""
        self.drops.append(dropped(f"{resource_type}/{resource_id}", reason, detail))

    def may_use(self, resource: Resource, subject: Reference | None, resource_id: str) -> bool:
        """Tell whether the resource is this patient's and means what it says; if not, note why."""
        reason = self._objection(resource, subject)
        if reason is not None:
            self.drop(resource.resource_type, resource_id, reason)
        return reason is None

    def _objection(self, resource: Resource, subject: Reference | None) -> DropReason | None:
        if subject is None or not subject.reference:
            return DropReason.NO_SUBJECT
        if subject.reference not in self.identity.own and not self.identity.is_patient(subject.reference):
            return DropReason.OTHER_PATIENT
        if resource.modifier_extension:
            return DropReason.MODIFIER_EXTENSION
        return DropReason.IMPLICIT_RULES if resource.implicit_rules else None

    def time(self, resource: Resource, resource_id: str, element: str, text: str | None) -> FhirTime | None:
        """Read one time; note it when something stands there that is none."""
        if text is None:
            return None
        time = parse_time(text)
        if time is None:
            self.drop(resource.resource_type, resource_id, DropReason.UNREADABLE_TIME, element)
        return time

    def codes(self, concept: CodeableConcept | None) -> tuple[Code, ...]:
        """Return the codings with canonical systems; a coding without a code is kept for its display."""
        if concept is None:
            return ()
        systems = self.terminology.systems
        return tuple(
            [
                Code(systems.get(system, system) if (system := coding.system) else "", (coding.code or "").strip(), coding.display or "")
                for coding in concept.coding
                if coding.code or coding.display
            ]
        )


def source_of(resource: Resource, resource_id: str, raw: bytes) -> SourceRef:
    """Return where a value came from: the version where one was received, else the digest of the bytes."""
    version = resource.meta.version_id if resource.meta is not None else None
    if version:
        return SourceRef(resource.resource_type, resource_id, version)
    return SourceRef(resource.resource_type, resource_id, None, hashlib.sha256(raw).hexdigest())


def text_of(concept: CodeableConcept | None) -> str:
    """Return the text of a CodeableConcept, empty when there is none."""
    return concept.text or "" if concept is not None else ""


def status_code(concept: CodeableConcept | None) -> str:
    """Return the first code of a status such as Condition.clinicalStatus, empty when there is none."""
    return next((coding.code for coding in concept.coding if coding.code), "") if concept is not None else ""
