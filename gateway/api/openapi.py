"""The OpenAPI page of the hand-made routes (development only): generated from the route table, so that it cannot disagree with it."""

from collections.abc import Iterable

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from gateway import __version__
from gateway.api.routes import AuditedRoute, OpenRoute

SCHEMA_PATH = "/openapi.json"
PAGE_PATH = "/docs"


def describe_routes(app: FastAPI, audited: Iterable[AuditedRoute], unaudited: Iterable[OpenRoute]) -> None:
    """Serve the OpenAPI document and its page."""
    document = build_document(audited, unaudited)

    async def schema(_request: Request) -> JSONResponse:
        return JSONResponse(document)

    async def page(_request: Request) -> HTMLResponse:
        return get_swagger_ui_html(openapi_url=SCHEMA_PATH, title="Clinical inference gateway")

    app.add_route(SCHEMA_PATH, schema)
    app.add_route(PAGE_PATH, page)


def build_document(audited: Iterable[AuditedRoute], unaudited: Iterable[OpenRoute]) -> dict[str, object]:
    """Return an OpenAPI 3.1 document of every route."""
    paths: dict[str, dict[str, object]] = {}
    for route in audited:
        paths[route.path] = {route.method.lower(): _operation(route)}
    for other in unaudited:
        paths[other.path] = {"get": {"summary": other.summary, "responses": {"200": {"description": other.summary}}}}
    return {"openapi": "3.1.0", "info": {"title": "Clinical inference gateway", "version": __version__}, "paths": paths}


def _operation(route: AuditedRoute) -> dict[str, object]:
    media_type = "application/json" if route.operation in {"cds-hook", "infer"} else "application/fhir+json"
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return {
        "summary": route.summary,
        "description": "Leaves an audit record whatever happens; the Audit-Receipt header of an answer names it.",
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names],
        "requestBody": {"content": {media_type: {"schema": {"type": "object"}}}},
        "responses": {
            "200": {"description": "The answer; every verdict is 200", "content": {media_type: {"schema": {"type": "object"}}}},
            "4XX": {"description": "OperationOutcome with a stable code"},
            "503": {"description": "The audit record is not durable, or nothing can answer"},
        },
    }
