"""The application, with a short way in for the routes that are asked most.

A framework passes each request through seven layers (telemetry, limits, exits, errors, routing) that a fixed path does not need: our
endpoints bring their own limits, errors and audit. Every other path goes the framework's way.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send


class GatewayApi(FastAPI):
    """FastAPI, asked second."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - FastAPI's own parameters, handed on
        super().__init__(**settings)
        self.direct: dict[tuple[str, str], tuple[ASGIApp, Mapping[str, str]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a fixed route at once; hand everything else to the framework."""
        direct = self.direct.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if direct is None:
            await super().__call__(scope, receive, send)
            return
        endpoint, parameters = direct
        await endpoint({**scope, "path_params": parameters}, receive, send)
