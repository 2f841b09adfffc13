"""What a server says it can do (its CapabilityStatement), read as leniently as it is written."""

import msgspec

from gateway.fhir.bundle import PageError, PageProblem


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a CapabilityStatement that decide how we ask.

    `batch`: worth trying. HAPI takes batches and lists only `transaction`, which goes to the same address.
    """

    fhir_version: str = ""
    software: str = ""
    batch: bool = False
    search_parameters: dict[str, frozenset[str]] = {}


class _Named(msgspec.Struct):
    name: str = ""


class _Interaction(msgspec.Struct):
    code: str = ""


class _Resource(msgspec.Struct, rename="camel"):
    type: str = ""
    search_param: list[_Named] = []


class _Rest(msgspec.Struct):
    mode: str = "server"
    interaction: list[_Interaction] = []
    resource: list[_Resource] = []


class _Statement(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    fhir_version: str = ""
    software: _Named = msgspec.field(default_factory=_Named)
    rest: list[_Rest] = []


_decode = msgspec.json.Decoder(_Statement).decode


def decode_capability(body: bytes) -> Capability:
    """Return what the CapabilityStatement says. Raises PageError when the body is none."""
    if not body.strip():
        raise PageError(PageProblem.EMPTY_BODY)
    try:
        statement = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PageError(PageProblem.NOT_JSON) from error
    if statement.resource_type != "CapabilityStatement":
        raise PageError(PageProblem.WRONG_TYPE)
    servers = [rest for rest in statement.rest if rest.mode == "server"]
    return Capability(
        fhir_version=statement.fhir_version,
        software=statement.software.name,
        batch=any(interaction.code in {"batch", "transaction"} for rest in servers for interaction in rest.interaction),
        search_parameters={
            resource.type: frozenset(parameter.name for parameter in resource.search_param)
            for rest in servers
            for resource in rest.resource
        },
    )
