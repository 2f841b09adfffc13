"""A CDS Hooks request as it arrives: lenient where clients differ, strict where a mistake could name the wrong patient."""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.api.envelope import reject_repeated_keys
from gateway.api.parameters import parse_patient_id
from gateway.errors import BadRequest, ErrorCode, PreconditionFailed
from gateway.fhir.bundle import Listing, PageError, decode_resource, list_resources, says_empty_result, says_refused
from gateway.fhir.group import OBSERVATION_GROUPS, FetchedRecord, Group, GroupState, RecordPart
from gateway.record.alike import decode_alike

# Prefetch keys of our services and the groups each fills (cds-hooks 2.4). Some may be left out: they are topped up together
# with a required one.
PREFETCH_GROUPS: Mapping[str, tuple[Group, ...]] = {
    "patient": (Group.PATIENT,),
    "observations": tuple(sorted(OBSERVATION_GROUPS)),
    "conditions": (Group.CONDITIONS,),
    "medications": (Group.MEDICATIONS,),
    "medicationStatements": (Group.MEDICATION_STATEMENTS,),
    "encounters": (Group.ENCOUNTERS,),
    "procedures": (Group.PROCEDURES,),
}
_TYPE_OF_GROUP: Mapping[Group, str] = {
    **dict.fromkeys(OBSERVATION_GROUPS, "Observation"),
    Group.CONDITIONS: "Condition",
    Group.MEDICATIONS: "MedicationRequest",
    Group.MEDICATION_STATEMENTS: "MedicationStatement",
    Group.ENCOUNTERS: "Encounter",
    Group.PROCEDURES: "Procedure",
}
PATIENT_KEY = "patient"
OPTIONAL_KEYS = frozenset({"procedures", "medicationStatements"})
# Clients send searchsets; some leave the type away or write collection (cds-hooks 6).
PREFETCH_BUNDLE_TYPES = frozenset({"searchset", "collection", ""})


class _Context(msgspec.Struct, rename="camel"):
    patient_id: str
    user_id: str = ""
    encounter_id: str | None = None


class CdsRequest(msgspec.Struct, rename="camel"):
    """The fields we read; unknown ones are left alone."""

    hook: str
    hook_instance: str
    context: _Context
    fhir_server: str | None = None
    fhir_authorization: msgspec.Raw = msgspec.Raw()  # `Raw | None` accepts null alone; empty means absent
    prefetch: dict[str, msgspec.Raw] | None = None


class Prefetched(msgspec.Struct, frozen=True, kw_only=True):
    """What the prefetch brought, and which groups it left open."""

    record: FetchedRecord
    missing: frozenset[Group]
    missing_keys: tuple[str, ...]


_decode = msgspec.json.Decoder(CdsRequest).decode


def parse_cds_request(body: bytes) -> CdsRequest:
    """Parse a hook request.

    Raises:
        BadRequest: not JSON, a required field is missing, a key is repeated, or authorization came without a server (cds-r-1).
    """
    try:
        request = _decode(body)
    except msgspec.ValidationError:
        raise BadRequest(
            ErrorCode.INVALID_CDS_REQUEST, "A CDS Hooks request needs hook, hookInstance and context.patientId as strings."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(ErrorCode.MALFORMED_JSON, "The body is not valid JSON.") from None
    if bytes(request.fhir_authorization) not in {b"", b"null"} and not request.fhir_server:
        raise BadRequest(ErrorCode.INVALID_CDS_REQUEST, "fhirAuthorization needs fhirServer.", expression="fhirAuthorization")
    reject_repeated_keys(body, _records(request.prefetch or {}))
    return request


def _records(prefetch: Mapping[str, msgspec.Raw]) -> Iterable[bytes]:
    """Return what is not searched for repeated keys: whole Bundles. The Patient is searched: it is an identity."""
    raws = ((key, bytes(raw)) for key, raw in prefetch.items())
    return (raw for key, raw in raws if key != PATIENT_KEY and raw.startswith(b"{"))


def patient_id_of(request: CdsRequest) -> str:
    """Return the bare patient id of the context; `Patient/x` is tolerated."""
    return parse_patient_id(request.context.patient_id.removeprefix("Patient/"))


def read_prefetch(request: CdsRequest, patient_id: str, base_url: str | None) -> Prefetched:
    """Sort the prefetch into groups (cds-hooks 2.4: absent, null, OperationOutcome, empty and cut-off are different things).

    Raises:
        PreconditionFailed: the prefetched Patient is another one than the context's.
    """
    prefetch = request.prefetch or {}
    parts: list[RecordPart] = []
    missing_keys = []
    for key, groups in PREFETCH_GROUPS.items():
        raw = prefetch.get(key)
        if raw is None or _is_unresolved(bytes(raw)) or (key == PATIENT_KEY and not _is_patient(bytes(raw), patient_id)):
            missing_keys.append(key)
            continue
        parts.append(_part(groups, bytes(raw)))
    missing = frozenset(group for key in missing_keys for group in PREFETCH_GROUPS[key])
    record = FetchedRecord(patient_id=patient_id, parts=tuple(parts), base_url=base_url)
    return Prefetched(record=record, missing=missing, missing_keys=tuple(missing_keys))


def _is_unresolved(raw: bytes) -> bool:
    """Tell whether the client echoed the template instead of filling it: the same as an absent key."""
    return raw.startswith(b'"')


def _part(groups: tuple[Group, ...], raw: bytes) -> RecordPart:
    if raw == b"null":  # the client looked, and nothing is there
        return RecordPart(groups=groups, state=GroupState.COMPLETE)
    try:
        if groups == (Group.PATIENT,):
            return RecordPart(groups=groups, state=GroupState.COMPLETE, resources=(decode_resource(raw).body,))
        return _bundle_part(groups, raw)
    except PageError as problem:
        return RecordPart(groups=groups, state=GroupState.NOT_FETCHED, why=f"prefetch: {problem.problem}")


def _bundle_part(groups: tuple[Group, ...], raw: bytes) -> RecordPart:
    alike = decode_alike(raw, _TYPE_OF_GROUP[groups[0]], PREFETCH_BUNDLE_TYPES)
    if alike is not None:
        why = _why_cut(alike.next_url, alike.total, alike.matches)
        return RecordPart(groups=groups, state=GroupState.INCOMPLETE if why else GroupState.COMPLETE, decoded=alike.resources, why=why)
    listing = list_resources(raw, types=PREFETCH_BUNDLE_TYPES)
    if listing.outcomes and says_refused(listing.outcomes):
        return RecordPart(groups=groups, state=GroupState.NOT_ALLOWED, resources=listing.resources, why="prefetch: the server refused")
    why = _why_incomplete(listing)
    return RecordPart(groups=groups, state=GroupState.INCOMPLETE if why else GroupState.COMPLETE, resources=listing.resources, why=why)


def _why_incomplete(listing: Listing) -> str:
    """Say why a prefetched Bundle is not everything (rules 3); empty when it is."""
    if listing.outcomes and not says_empty_result(listing.outcomes):
        return "prefetch: the server reported a problem"
    if listing.unreadable:
        return "prefetch: an entry could not be read"
    return _why_cut(listing.next_url, listing.total, listing.matches)


def _why_cut(next_url: str | None, total: int | None, matches: int) -> str:
    if next_url:
        return "prefetch: more pages exist"
    return "prefetch: the total exceeds what arrived" if total is not None and total > matches else ""


def _is_patient(raw: bytes, patient_id: str) -> bool:
    """Tell whether the Patient came; null and an OperationOutcome are the same as an absent key: the Patient is unavailable.

    Raises:
        PreconditionFailed: something else came, or another patient.
    """
    found = msgspec.json.decode(raw)
    kind = found.get("resourceType") if isinstance(found, dict) else None
    if found is None or kind == "OperationOutcome":
        return False
    if kind != "Patient" or found.get("id") != patient_id:
        raise PreconditionFailed(
            ErrorCode.PATIENT_MISMATCH, "The prefetched Patient is not the patient of the context.", expression="prefetch.patient"
        )
    return True
