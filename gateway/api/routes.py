"""The route table: every path, its method, its permission and its handler, in one place, so that a test can walk it."""

from collections.abc import Callable, Mapping

import msgspec
from starlette.routing import Route

from gateway.api.assess_risk import AssessRisk
from gateway.api.audited import Audited, Edge, Handler
from gateway.api.cds import CdsHooks
from gateway.api.exchange import Answer
from gateway.api.health import Open
from gateway.identity import Permission


class AuditedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route that may touch a patient's data: wrapped, so that it leaves an audit record whatever happens."""

    path: str
    method: str
    operation: str
    permission: Permission
    handler: Handler
    summary: str


class OpenRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route without patient data."""

    path: str
    answer: Callable[[], Answer]
    summary: str


def audited_routes(operation: AssessRisk, cds: CdsHooks) -> tuple[AuditedRoute, ...]:
    """Return the routes that need a caller."""
    return (
        AuditedRoute(
            path="/fhir/Patient/{patient_id}/$assess-risk",
            method="POST",
            operation="assess-risk",
            permission=Permission.ASSESS,
            handler=operation.on_patient,
            summary="Assess one patient whose record is pulled from the FHIR server",
        ),
        AuditedRoute(
            path="/fhir/$assess-risk",
            method="POST",
            operation="assess-risk",
            permission=Permission.ASSESS,
            handler=operation.on_system,
            summary="Assess a patient named by reference, or an inline record",
        ),
        AuditedRoute(
            path="/cds-services/{service_id}",
            method="POST",
            operation="cds-hook",
            permission=Permission.CDS,
            handler=cds.invoke,
            summary="Answer a CDS Hooks request with cards",
        ),
    )


def open_routes(answers: Mapping[str, Callable[[], Answer]]) -> tuple[OpenRoute, ...]:
    """Return the routes without patient data; `answers` maps a path to what it answers."""
    return tuple(OpenRoute(path=path, answer=answer, summary=OPEN_ROUTES[path]) for path, answer in answers.items())


# The short list of rules 9; the test that walks all routes reads it too.
OPEN_ROUTES: Mapping[str, str] = {
    "/fhir/metadata": "CapabilityStatement",
    "/fhir/OperationDefinition/assess-risk": "OperationDefinition of $assess-risk",
    "/cds-services": "CDS Hooks discovery",
    "/health/live": "The process runs",
    "/health/ready": "The gateway can answer, or why not",
    "/metrics": "Metrics in Prometheus' text form, without patient data",
}


def as_starlette(audited: tuple[AuditedRoute, ...], unaudited: tuple[OpenRoute, ...], edge: Edge) -> list[Route]:
    """Return the routes in the framework's form."""
    routes = [
        Route(route.path, Audited(edge, route.operation, route.permission, route.handler), methods=[route.method], name=route.summary)
        for route in audited
    ]
    routes += [Route(route.path, Open(route.answer), methods=["GET"], name=route.summary) for route in unaudited]
    return routes
