"""Addresses on one FHIR server: built only from validated segments, followed only on the same origin and below the base.

Pure. A link that a server or a caller supplies is a selector, never a target: it must stay on the configured base.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

# FHIR R4 datatypes.html#id
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPE = re.compile(r"[A-Z][A-Za-z]{2,63}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_\-.:]{0,63}")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,8000}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AddressError(ValueError):
    """An address that must not be used. The message never holds the address."""


def check_id(value: str) -> str:
    """Return the logical id unchanged, or raise AddressError: 1 to 64 letters, digits, dashes and dots, and not a path step."""
    if not _ID.fullmatch(value) or not value.strip("."):
        raise AddressError("not a FHIR id")
    return value


class FhirBase:
    """The base URL of one FHIR server, without a trailing slash, and the addresses below it."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise AddressError("a FHIR base needs http or https and a host")
        if parts.username or parts.password or parts.query or parts.fragment or not _VISIBLE.fullmatch(base_url):
            raise AddressError("a FHIR base has no user, query, fragment or space")
        self.url = base_url.rstrip("/")
        self._origin = _origin(base_url)
        self._path = urlsplit(self.url).path

    def read(self, resource_type: str, resource_id: str) -> str:
        """Return the relative address of one resource."""
        return f"{_checked_type(resource_type)}/{check_id(resource_id)}"

    def search(self, resource_type: str, parameters: Iterable[tuple[str, str]]) -> str:
        """Return the relative address of a search; every value is percent-encoded, commas and colons included (batch entries, too)."""
        pairs = []
        for name, value in parameters:
            if not _PARAMETER.fullmatch(name):
                raise AddressError("not a search parameter")
            pairs.append(f"{name}={quote(value, safe='')}")
        return f"{_checked_type(resource_type)}?{'&'.join(pairs)}"

    def absolute(self, relative: str) -> str:
        """Return the absolute form of an address that this class built."""
        return f"{self.url}/{relative}"

    def follow(self, link: str) -> str:
        """Return a server's `next` link exactly as it was sent, if it stays on this origin and at or below the base path.

        A link relative to the base (`?_getpages=..`, `Observation?page=2`) is made absolute. Raises AddressError otherwise.
        """
        if not _VISIBLE.fullmatch(link) or "\\" in link or "#" in link:
            raise AddressError("not a usable link")
        if link.startswith("?"):
            return self.url + link
        if "://" not in link.split("?", 1)[0]:
            if link.startswith("/"):
                scheme, host, port = self._origin
                shown = f"[{host}]" if ":" in host else host
                link = f"{scheme}://{shown}:{port}{link}"
            elif ":" in re.split(r"[/?]", link, maxsplit=1)[0]:
                raise AddressError("the link has another scheme")
            else:
                link = f"{self.url}/{link}"
        self._check_inside(link)
        return link

    def _check_inside(self, link: str) -> None:
        try:
            origin = _origin(link)
            parts = urlsplit(link)
        except ValueError as error:
            raise AddressError("not a usable link") from error
        if origin != self._origin or parts.username or parts.password:
            raise AddressError("the link leads to another origin")
        path = parts.path
        if ".." in path.split("/") or "%2e" in path.lower() or "%2f" in path.lower():
            raise AddressError("the link climbs out of its path")
        if path.rstrip("/") != self._path and not path.startswith(f"{self._path}/"):
            raise AddressError("the link leaves the base path")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").lower()
    port = parts.port or _DEFAULT_PORTS.get(scheme, 0)
    return (scheme, host, port)


def _checked_type(resource_type: str) -> str:
    if not _TYPE.fullmatch(resource_type):
        raise AddressError("not a resource type")
    return resource_type
