"""A coded value, as every room below and above the record passes it on."""

import msgspec


class Code(msgspec.Struct, frozen=True, gc=False):
    """A Coding: canonical system URL (aliases such as urn:oid resolved), code, display. An unknown system stays as given."""

    system: str
    code: str
    display: str = ""
