"""Decoding one resource, element by element where need be: an element of the wrong form is left out and listed, not the resource.

The type is looked at first, so that resources nobody reads cost nothing. Elements that decide what all the others mean (subject, status,
modifierExtension ...) are the exception: with one of them unreadable the resource as a whole is not used.
"""

from typing import get_origin

import msgspec

from gateway.record.resource import READ_TYPES, Resource

_TYPE_PREFIX = b'{"resourceType":"'
_PREFIX_LENGTH = len(_TYPE_PREFIX)
_KNOWN_NAMES = {name.encode(): name for name in READ_TYPES}
_DECODERS = {name: msgspec.json.Decoder(struct) for name, struct in READ_TYPES.items()}
_DECISIVE = frozenset(
    {
        "modifierExtension",
        "implicitRules",
        "subject",
        "focus",
        "status",
        "verificationStatus",
        "doNotPerform",
        "active",
        "link",
        "deceasedBoolean",
        "deceasedDateTime",
    }
)


class _Head(msgspec.Struct, frozen=True, gc=False):
    resourceType: str | None = None  # noqa: N815 - the name in the JSON


class _HeadWithId(_Head, frozen=True, gc=False):
    id: str | None = None


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A resource, and the elements that could not be read; `resource` is None when an element in `unreadable` decides over all."""

    resource: Resource | None
    id: str | None
    unreadable: tuple[str, ...] = ()


_HEAD = msgspec.json.Decoder(_Head)
_HEAD_WITH_ID = msgspec.json.Decoder(_HeadWithId)


def resource_type(raw: bytes) -> str | None:
    """Return the resourceType of one resource; None when it has none, or is not a JSON object."""
    if raw.startswith(_TYPE_PREFIX):  # as every FHIR server writes it
        name = raw[_PREFIX_LENGTH : raw.find(b'"', _PREFIX_LENGTH)]
        known = _KNOWN_NAMES.get(name)
        if known is not None:
            return known
        return name.decode("ascii") if name.isalpha() and name.isascii() else None
    try:
        return _HEAD.decode(raw).resourceType
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def type_and_id(raw: bytes) -> tuple[str | None, str | None]:
    """Return resourceType and id of one resource, each None when it cannot be read."""
    try:
        head = _HEAD_WITH_ID.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return resource_type(raw), None
    return head.resourceType, head.id


def decode_resource(raw: bytes, name: str) -> Decoded:
    """Decode a resource of a type in READ_TYPES; never raises."""
    try:
        resource = _DECODERS[name].decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _salvage(raw, name)
    if resource.resource_type != name:  # a second resourceType further down: nobody knows which one counts
        return Decoded(None, resource.id, ("resourceType",))
    return Decoded(resource, resource.id)


def _salvage(raw: bytes, name: str) -> Decoded:
    """Read every element by itself and keep those that have the right form."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Decoded(None, None, ("",))
    if not isinstance(found, dict) or found.get("resourceType") != name:
        return Decoded(None, None, ("resourceType",))
    given_id = found.get("id")
    known_id = given_id if isinstance(given_id, str) else None
    kept: dict[str, object] = {}
    unreadable: list[str] = []
    for field in msgspec.structs.fields(READ_TYPES[name]):
        if field.encode_name in found:
            value, complete = _salvage_element(found[field.encode_name], field.type)
            if not complete:
                unreadable.append(field.encode_name)
            if value is not None:
                kept[field.name] = value
    decisive = tuple(element for element in unreadable if element in _DECISIVE)
    if decisive:
        return Decoded(None, known_id, decisive[:1])
    return Decoded(READ_TYPES[name](**kept), known_id, tuple(unreadable))  # type: ignore[arg-type]  # checked one by one above


def _salvage_element(value: object, wanted: object) -> tuple[object | None, bool]:
    """Return (the element, or the list without its bad items; whether nothing was left out)."""
    try:
        return msgspec.convert(value, wanted), True
    except msgspec.ValidationError:
        if not isinstance(value, list) or get_origin(wanted) is not tuple:
            return None, False
    items: list[object] = []
    for item in value:
        try:
            items += msgspec.convert([item], wanted)
        except msgspec.ValidationError:
            continue
    return tuple(items), False
