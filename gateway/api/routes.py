"""The route table: every path, its method, its permission and its handler, in one place, so that a test can walk it."""

from collections.abc import Callable, Mapping

import msgspec
from starlette.routing import Route

from gateway.api.assess_risk import AssessRisk
from gateway.api.audited import Audited, Edge, ErrorForm, Handler, fhir_error
from gateway.api.cds import CdsHooks
from gateway.api.exchange import Answer
from gateway.api.health import Open
from gateway.api.v2 import OpenInference, error_answer
from gateway.identity import Permission


class AuditedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route that may touch a patient's data: wrapped, so that it leaves an audit record whatever happens."""

    path: str
    method: str
    operation: str
    permission: Permission
    handler: Handler
    summary: str
    error_form: ErrorForm = fhir_error


class OpenRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route without patient data."""

    path: str
    answer: Callable[..., Answer]  # takes the parameters of the path by name
    summary: str


def audited_routes(operation: AssessRisk, cds: CdsHooks, v2: OpenInference) -> tuple[AuditedRoute, ...]:
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
        *infer_routes(v2),
    )


def infer_routes(v2: OpenInference) -> tuple[AuditedRoute, ...]:
    """Return the routes of the Open Inference Protocol that run a model."""
    return tuple(
        AuditedRoute(
            path=path,
            method="POST",
            operation="infer",
            permission=Permission.INFER,
            handler=v2.infer,
            summary="Run a model on rows of numbers",
            error_form=error_answer,
        )
        for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
    )


def open_routes(answers: Mapping[str, Callable[..., Answer]]) -> tuple[OpenRoute, ...]:
    """Return the routes without patient data; `answers` maps a path to what it answers."""
    return tuple(OpenRoute(path=path, answer=answer, summary=OPEN_ROUTES[path]) for path, answer in answers.items())


# The short list of rules 9; the test that walks all routes reads it too.
OPEN_ROUTES: Mapping[str, str] = {
    "/fhir/metadata": "CapabilityStatement",
    "/fhir/OperationDefinition/assess-risk": "OperationDefinition of $assess-risk",
    "/cds-services": "CDS Hooks discovery",
    "/health/live": "The process runs",
    "/health/ready": "The gateway can answer, or why not",
    "/v2": "Open Inference Protocol: what the server is",
    "/v2/health/live": "Open Inference Protocol: the process runs",
    "/v2/health/ready": "Open Inference Protocol: the gateway can answer, or why not",
    "/v2/models/{model}": "Open Inference Protocol: inputs and outputs of a model",
    "/v2/models/{model}/versions/{version}": "Open Inference Protocol: inputs and outputs of a version",
    "/v2/models/{model}/ready": "Open Inference Protocol: the model is served",
    "/v2/models/{model}/versions/{version}/ready": "Open Inference Protocol: the version is served",
    "/metrics": "Metrics in Prometheus' text form, without patient data",
}


def as_starlette(audited: tuple[AuditedRoute, ...], unaudited: tuple[OpenRoute, ...], edge: Edge) -> list[Route]:
    """Return the routes in the framework's form."""
    routes = [
        Route(
            route.path,
            Audited(edge, route.operation, route.permission, route.handler, route.error_form),
            methods=[route.method],
            name=route.summary,
        )
        for route in audited
    ]
    routes += [Route(route.path, Open(route.answer), methods=["GET"], name=route.summary) for route in unaudited]
    return routes
