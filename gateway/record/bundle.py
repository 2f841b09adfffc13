"""An inline Bundle, or a file with one, becomes what a fetch would have brought (rules 3).

Bundles of any type with entries are read: collection, transaction, searchset, batch-response, document; a Bundle inside an entry (an answer
to a batch) is opened. References by urn:uuid are resolved through the entries' fullUrls.
"""

from collections.abc import Iterator

import msgspec

from gateway.errors import BadRequest, ErrorCode, TooLarge
from gateway.fhir.bundle import decode_outcome, says_empty_result
from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.record.decode import type_and_id

ENTRIES_MAX = 20_000  # a record of 50 years with daily vitals has about as many
BUNDLE_DEPTH_MAX = 2  # an answer to a batch holds searchsets, and these hold resources
UNREADABLE_LINK = "unreadable"
_URN_UUID = "urn:uuid:"
_ALL_GROUPS = tuple(Group)


class _Link(msgspec.Struct, frozen=True, gc=False):
    relation: str = ""


class _Entry(msgspec.Struct, frozen=True, gc=False):
    fullUrl: str = ""  # noqa: N815 - the name in the JSON
    resource: msgspec.Raw = msgspec.Raw()


class _Bundle(msgspec.Struct, frozen=True, gc=False):
    resourceType: str = ""  # noqa: N815 - the name in the JSON
    entry: tuple[_Entry, ...] = ()
    link: tuple[_Link, ...] = ()


class _LooseBundle(msgspec.Struct, frozen=True, gc=False):
    resourceType: str = ""  # noqa: N815 - the name in the JSON
    entry: tuple[msgspec.Raw, ...] = ()


_BUNDLE = msgspec.json.Decoder(_Bundle)
_LOOSE_BUNDLE = msgspec.json.Decoder(_LooseBundle)
_ENTRY = msgspec.json.Decoder(_Entry)


class _Opened(msgspec.Struct, kw_only=True):
    """The entries of a Bundle and of those inside it."""

    resources: list[bytes] = []
    full_urls: list[str] = []
    aliases: dict[str, str] = {}
    patients: list[str] = []
    why: list[str] = []


def read_bundle(raw: bytes, *, patient_id: str | None, declared_complete: bool, base_url: str | None = None) -> FetchedRecord:
    """Read a Bundle's JSON; `patient_id` None picks the only Patient there is.

    An OperationOutcome that says more than "nothing found", or a next page that nobody followed, makes every group incomplete. Without
    `declared_complete` nothing counts as searched.

    Raises:
        BadRequest: not a Bundle, or it holds no Patient, several where none is named, or not the named one (code invalid-record).
        TooLarge: more than ENTRIES_MAX entries (code body-too-large).
    """
    opened = _Opened()
    _open(_decode(raw), opened, depth=1)
    state = GroupState.COMPLETE if declared_complete else GroupState.NOT_SEARCHED
    part = RecordPart(
        groups=_ALL_GROUPS,
        state=GroupState.INCOMPLETE if opened.why else state,
        resources=tuple(opened.resources),
        full_urls=tuple(opened.full_urls),
        why="; ".join(opened.why),
    )
    return FetchedRecord(
        patient_id=_pick_patient(opened, patient_id),
        parts=(part,),
        base_url=base_url,
        declared_complete=declared_complete,
        aliases=opened.aliases,
    )


def _decode(raw: bytes) -> _Bundle:
    try:
        bundle = _BUNDLE.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        bundle = _decode_loosely(raw)
    if bundle.resourceType != "Bundle":
        raise _invalid("The record is not a FHIR Bundle.")
    return bundle


def _decode_loosely(raw: bytes) -> _Bundle:
    """Read every entry by itself. One that cannot be read may have held anything, so the record counts as having more pages."""
    try:
        loose = _LOOSE_BUNDLE.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _invalid("The record is not a readable FHIR Bundle.") from error
    entries: list[_Entry] = []
    for raw_entry in loose.entry:
        try:
            entries.append(_ENTRY.decode(raw_entry))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            entries.append(_Entry(resource=raw_entry))
    return _Bundle(resourceType=loose.resourceType, entry=tuple(entries), link=(_Link(relation=UNREADABLE_LINK),))


def _open(bundle: _Bundle, opened: _Opened, *, depth: int) -> None:
    if len(bundle.entry) + len(opened.resources) > ENTRIES_MAX:
        raise TooLarge(ErrorCode.BODY_TOO_LARGE, "The record has too many entries.", expression="Bundle.entry")
    if any(link.relation == "next" for link in bundle.link):
        opened.why.append("a further page exists")
    if any(link.relation == UNREADABLE_LINK for link in bundle.link):
        opened.why.append("a part of the Bundle cannot be read")
    for entry in bundle.entry:
        if entry.resource:
            _open_entry(entry.fullUrl, bytes(entry.resource), opened, depth=depth)


def _open_entry(full_url: str, raw: bytes, opened: _Opened, *, depth: int) -> None:
    kind, given_id = type_and_id(raw)
    if kind == "Bundle" and depth < BUNDLE_DEPTH_MAX:
        _open(_decode(raw), opened, depth=depth + 1)
        return
    if kind == "OperationOutcome":
        if not says_empty_result(decode_outcome(raw)):
            opened.why.append("the server reported a problem")
        return
    resource_id = given_id or full_url.removeprefix(_URN_UUID).rpartition("/")[2]
    opened.resources.append(raw)
    opened.full_urls.append(full_url)
    if kind is not None and full_url and resource_id:
        opened.aliases[full_url] = f"{kind}/{resource_id}"
    if kind == "Patient":
        opened.patients.append(resource_id)


def _pick_patient(opened: _Opened, patient_id: str | None) -> str:
    found: Iterator[str] = iter(dict.fromkeys(opened.patients))
    if patient_id is not None:
        if patient_id not in opened.patients:
            raise _invalid("The record does not hold the named Patient.")
        return patient_id
    only = next(found, "")
    if not only:
        raise _invalid("The record holds no Patient with an id.")
    if next(found, None) is not None:
        raise _invalid("The record holds more than one Patient: say which one is meant.")
    return only


def _invalid(words: str) -> BadRequest:
    return BadRequest(ErrorCode.INVALID_RECORD, words, expression="Bundle.entry")
