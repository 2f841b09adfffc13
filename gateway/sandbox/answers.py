"""What the sandbox answers, as JSON objects: Bundles, OperationOutcomes, the CapabilityStatement. Pure."""

from collections.abc import Iterable
from typing import Any

from gateway.sandbox.fixture import Resource
from gateway.sandbox.store import INCLUDES, SEARCH_PARAMETERS

FHIR_JSON = "application/fhir+json; charset=utf-8"
_DATE_PARAMETERS = frozenset({"date", "authoredon"})
_REFERENCE_PARAMETERS = frozenset({"patient", "subject"})


def outcome(code: str, text: str, severity: str = "error") -> Resource:
    """Return an OperationOutcome with one issue; `text` is ours and holds nothing of the request."""
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code, "diagnostics": text}]}


def searchset(
    base_url: str, matches: Iterable[Resource], included: Iterable[Resource], *, total: int | None, links: dict[str, str]
) -> Resource:
    """Return a searchset Bundle."""
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
    if total is not None:
        bundle["total"] = total
    bundle["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
    entries = [_entry(base_url, resource, "match") for resource in matches] + [_entry(base_url, one, "include") for one in included]
    if entries:
        bundle["entry"] = entries  # FHIR forbids empty arrays
    return bundle


def batch_response(answers: Iterable[tuple[int, Resource]]) -> Resource:
    """Return a batch-response Bundle: one (status, resource) per entry, in order."""
    entries = [
        {"response": {"status": str(status)}, "resource": resource}
        if status < 400  # noqa: PLR2004 -- HTTP's class of errors
        else {"response": {"status": str(status), "outcome": resource}}
        for status, resource in answers
    ]
    return {"resourceType": "Bundle", "type": "batch-response", "entry": entries}


def capability_statement(base_url: str, version: str, date: str) -> Resource:
    """Return the CapabilityStatement: exactly what the sandbox can do."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date,
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "software": {"name": "Clinical inference gateway sandbox", "version": version},
        "implementation": {"description": "Read-only, synthetic patients only", "url": base_url},
        "rest": [
            {
                "mode": "server",
                "interaction": [{"code": "batch"}],
                "resource": [_resource_capability(kind, names) for kind, names in SEARCH_PARAMETERS.items()],
            }
        ],
    }


def _entry(base_url: str, resource: Resource, mode: str) -> Resource:
    return {"fullUrl": f"{base_url}/{resource['resourceType']}/{resource['id']}", "resource": resource, "search": {"mode": mode}}


def _resource_capability(kind: str, names: frozenset[str]) -> Resource:
    capability: dict[str, Any] = {
        "type": kind,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "versioning": "no-version",
        "searchParam": [{"name": name, "type": _parameter_type(name)} for name in sorted(names)],
    }
    includes = [f"{source}:{parameter}" for source, parameter in INCLUDES if source == kind]
    if includes:
        capability["searchInclude"] = includes
    return capability


def _parameter_type(name: str) -> str:
    if name in _DATE_PARAMETERS:
        return "date"
    return "reference" if name in _REFERENCE_PARAMETERS else "token"
