"""References: whose record is this, and which resource is meant. All forms are brought to `Type/id` before they are compared."""

from collections.abc import Mapping

import msgspec

_HISTORY = "/_history/"
_URN_UUID = "urn:uuid:"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The patient whose record is read.

    `base_url` has no trailing slash. `aliases`: fullUrl -> `Type/id`. `own` holds references already known to be this patient's.
    """

    patient_id: str
    base_url: str | None
    aliases: Mapping[str, str]
    own: frozenset[str]

    def is_patient(self, reference: str) -> bool:
        """Tell whether a reference, in whatever form, means this patient."""
        return reference in self.own or self.resolve(reference) == f"Patient/{self.patient_id}"

    def resolve(self, reference: str) -> str | None:
        """Return `Type/id` for a reference into this record's server or Bundle; None for one that leads elsewhere.

        Relative, absolute on the base, versioned, urn:uuid and absolute forms that a Bundle entry declares as its fullUrl are understood.
        An absolute reference to any other server is somebody else's, even when type and id look the same.
        """
        plain, _, _ = reference.partition(_HISTORY)
        known = self.aliases.get(plain)
        if known is not None:
            return known
        if self.base_url is not None and plain.startswith(f"{self.base_url}/"):
            plain = plain[len(self.base_url) + 1 :]
        kind, slash, identity = plain.partition("/")
        if slash and kind.isalpha() and identity and "/" not in identity:
            return plain
        if plain == f"{_URN_UUID}{self.patient_id}":
            return f"Patient/{self.patient_id}"
        return None


def build_identity(patient_id: str, base_url: str | None, aliases: Mapping[str, str]) -> Identity:
    """Build the identity; the commonest forms are prepared."""
    base = base_url.rstrip("/") if base_url else None
    name = f"Patient/{patient_id}"
    own = {name, *(alias for alias, meant in aliases.items() if meant == name)}
    if base is not None:
        own.add(f"{base}/{name}")
    return Identity(patient_id=patient_id, base_url=base, aliases=aliases, own=frozenset(own))
