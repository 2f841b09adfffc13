"""A Bundle of one kind of resource, decoded in one pass: the quick way for what a well-behaved client prefetches.

Nothing is decided here. The quick way is taken only where it cannot differ from the ordinary one, resource by resource: everything decodes
without exception, every resource is of the expected type and has an id of its own and a version, and no resource is nested in another.
Anything else, and the caller takes the ordinary way.
"""

from collections.abc import Mapping

import msgspec

from gateway.record.resource import READ_TYPES, Resource

_TYPE_KEY = b'"resourceType"'


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """The resources of a Bundle, and what says whether they are all there are."""

    resources: tuple[Resource, ...]
    next_url: str | None
    total: int | None
    matches: int


class _Search(msgspec.Struct, frozen=True, gc=False):
    mode: str = "match"


class _Link(msgspec.Struct, frozen=True, gc=False):
    relation: str = ""
    url: str = ""


def _decoder(name: str, kind: type[Resource]) -> msgspec.json.Decoder[msgspec.Struct]:
    entry = msgspec.defstruct(f"_{name}Entry", [("resource", kind), ("search", _Search | None, None)], frozen=True, gc=False)
    bundle = msgspec.defstruct(
        f"_{name}Bundle",
        [
            ("resourceType", str),
            ("type", str, ""),
            ("total", int | None, None),
            ("link", tuple[_Link, ...], ()),
            ("entry", tuple[entry, ...], ()),  # type: ignore[valid-type]  # made a line above
        ],
        frozen=True,
        gc=False,
    )
    return msgspec.json.Decoder(bundle)


_DECODERS: Mapping[str, msgspec.json.Decoder[msgspec.Struct]] = {name: _decoder(name, kind) for name, kind in READ_TYPES.items()}


def decode_alike(raw: bytes | msgspec.Raw, name: str, bundle_types: frozenset[str]) -> Alike | None:
    """Return the resources of a Bundle that holds nothing but resources of type `name`; None sends the caller the ordinary way."""
    try:
        bundle = _DECODERS[name].decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    given = msgspec.structs.asdict(bundle)
    entries = given["entry"]
    if given["resourceType"] != "Bundle" or given["type"] not in bundle_types or bytes(raw).count(_TYPE_KEY) != len(entries) + 1:
        return None
    resources = tuple([entry.resource for entry in entries])
    ids = {resource.id for resource in resources if resource.resource_type == name and resource.meta and resource.meta.version_id}
    if len(ids) != len(resources) or None in ids or "" in ids:
        return None
    matches = sum([entry.search is None or entry.search.mode != "include" for entry in entries])
    next_url = next((link.url for link in given["link"] if link.relation == "next" and link.url), None)
    return Alike(resources=resources, next_url=next_url, total=given["total"], matches=matches)
