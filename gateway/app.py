"""The composition root: the one place where ports meet adapters. Nothing is opened at import; everything opened is closed here."""

import asyncio
import contextlib
import datetime as dt
import gc
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import orjson
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway import __version__
from gateway.api.assess_risk import AssessRisk
from gateway.api.audited import Edge
from gateway.api.authenticate import LoopbackDevelopment
from gateway.api.cds import CdsHooks, CdsService, prefetch_templates
from gateway.api.exchange import FHIR_JSON, Answer
from gateway.api.front import GatewayApi
from gateway.api.health import Check, live, metrics, readiness
from gateway.api.not_found import add_error_answers
from gateway.api.openapi import describe_routes
from gateway.api.refusals import RefusalLog
from gateway.api.routes import as_starlette, audited_routes, open_routes
from gateway.api.v2 import OpenInference
from gateway.assessment.assess import Gateway
from gateway.assessment.ports import AuditTrail
from gateway.audit.kms import KeyFailure
from gateway.audit.log import AuditLog, AuditLogError
from gateway.audit.open_kms import make_keys, open_kms
from gateway.clock import Clock, SystemClock
from gateway.config import Settings
from gateway.errors import ModelRefused
from gateway.features.plan import compile_plan, concepts_read
from gateway.fhir.client import FhirClient
from gateway.fhir.group import Group
from gateway.fhir.limits import BatchMode, FhirLimits, SourcePolicy
from gateway.inference.runtime import Runtime, open_workers
from gateway.results.answer import AssessmentAnswer
from gateway.results.card import CardPolicy, render_cards
from gateway.results.conformance import capability_statement, operation_definition
from gateway.served_models import EngineRuntime, ServedModels, load_served, runtime_plan
from gateway.takeover import Takeover
from gateway.telemetry import configure_logging, declare_models, get_logger, render_metrics

# Why a gateway does not start. Their texts are ours and hold no patient data.
START_FAILURES = (ModelRefused, AuditLogError, KeyFailure)
RELOAD_S_MAX = 600.0  # what is served goes on meanwhile
CDS_SERVICE_ID = "patient-risk"

_log = get_logger("gateway.app")


class Trail(AuditTrail, Protocol):
    """The audit log of a running gateway: its own, or that of the process that writes for several."""

    def healthy(self) -> tuple[bool, str]:
        """Tell whether records are accepted, and if not, why."""
        ...

    async def aclose(self) -> bool:
        """Write what was asked for and let go; tell whether that was done in time."""
        ...


OpenTrail = Callable[[], Awaitable[Trail]]


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is open while a gateway runs."""

    settings: Settings
    gateway: Gateway
    audit: Trail
    source: FhirClient | None
    workers: Path
    runtime: Runtime
    checks: Mapping[str, Check]

    @property
    def versions(self) -> str:
        """Return the models that are served, each with its version."""
        return ",".join(f"{name}/{model.manifest.version}" for name, model in self.gateway.releases.items())

    def ready(self, model: str) -> bool:
        """Tell whether a model has a device that answers."""
        return not self.runtime.closed_because(model)


def make_clock(settings: Settings) -> Clock:
    """Return the clock, shifted where development asks for it."""
    return SystemClock(dt.timedelta(days=settings.clock.offset_days))


def open_audit(settings: Settings, clock: Clock, *, on_loop: bool = False) -> AuditLog:
    """Open the audit log; in development a missing key file is made on the way. `on_loop`: see `AuditLog.open`.

    Raises:
        gateway.audit.log.AuditLogError: the log cannot be used.
        gateway.audit.kms.KeyFailure: its keys cannot be used.
    """
    database = Path(settings.audit.database)
    if settings.profile == "development" and settings.kms.provider == "file" and not Path(settings.audit.key_file).exists():
        make_keys(settings)
    database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return AuditLog.open(database, open_kms(settings), clock=clock, on_loop=on_loop)


def make_source(settings: Settings, clock: Clock) -> FhirClient | None:
    """Return the client of the tenant's FHIR server, if there is one."""
    fhir = settings.fhir
    if not fhir.base_url:
        return None
    limits = FhirLimits(
        requests_at_once_max=fhir.requests_at_once_max,
        page_entries=fhir.page_entries,
        pages_max=fhir.pages_max,
        entries_max=fhir.entries_max,
        body_bytes_max=fhir.body_bytes_max,
        pull_bytes_max=fhir.pull_bytes_max,
        connections_max=fhir.connections_max,
        pulls_at_once_max=fhir.pulls_at_once_max,
        connect_s_max=fhir.connect_s_max,
        attempts_max=fhir.attempts_max,
    )
    return FhirClient(fhir.base_url, limits=limits, clock=clock, policy=SourcePolicy(batch=BatchMode(fhir.batch)))


@contextlib.asynccontextmanager
async def open_gateway(
    settings: Settings, clock: Clock | None = None, open_trail: OpenTrail | None = None, workers: Path | None = None
) -> AsyncIterator[Running]:
    """Open everything an assessment needs, and close it again in reverse order.

    Without `open_trail` the log is this process's own, and without `workers` (the folder of `open_workers`) the workers are.
    """
    clock = clock or make_clock(settings)
    async with contextlib.AsyncExitStack() as stack:
        workers = workers or stack.enter_context(open_workers(runtime_plan(settings)))
        served = load_served(settings, workers)
        declare_models(tuple(served.models))
        await served.runtime.start()
        stack.push_async_callback(served.runtime.aclose)
        audit: Trail = await open_trail() if open_trail else open_audit(settings, clock)
        stack.push_async_callback(audit.aclose)
        source = make_source(settings, clock)
        if source is not None:
            stack.push_async_callback(source.aclose)
        yield join(settings, served, clock, audit, source, workers)


def join(settings: Settings, served: ServedModels, clock: Clock, audit: Trail, source: FhirClient | None, workers: Path) -> Running:
    """Join what is open with the models that are served."""
    models, runtime, terminology = served.models, served.runtime, served.terminology
    gateway = Gateway(
        terminology=terminology,
        reading=terminology.narrowed_to(concepts_read(model.manifest for model in models.values())),
        releases=models,
        runtime=EngineRuntime(runtime),
        audit=audit,
        clock=clock,
        new_id=lambda: str(uuid.uuid4()),
        source=source,
        audit_wait_s_max=settings.audit.wait_s_max,
        observation_mode=settings.fhir.observation_search,
        never_asked=never_asked(settings),
        site=settings.site,
    )
    checks: dict[str, Check] = {
        "audit": audit.healthy,
        "models": lambda: runtime.healthy() if models else (False, "no model is released"),
    }
    return Running(
        settings=settings,
        gateway=gateway,
        audit=audit,
        source=source,
        workers=workers,
        runtime=runtime,
        checks=checks,
    )


async def reload_models(running: Running) -> Running:
    """Load whatever the folder of releases holds now beside what is served, test and warm it, and return it joined with what is open.

    Raises:
        gateway.errors.ModelRefused: a release is refused, or no device runs one of them; what is served stays.
    """
    settings = running.settings
    served = await asyncio.to_thread(load_served, settings, running.workers)
    try:
        await served.runtime.start(wait_s=RELOAD_S_MAX)
        served.runtime.require_healthy()
    except BaseException:
        await served.runtime.aclose()
        raise
    declare_models(tuple(served.models))
    return join(settings, served, running.gateway.clock, running.audit, running.source, running.workers)


def never_asked(settings: Settings) -> frozenset[Group]:
    """Return the groups that the tenant's server is said not to have."""
    return frozenset() if settings.fhir.medication_statements else frozenset({Group.MEDICATION_STATEMENTS})


def make_cds(running: Running) -> CdsHooks:
    """Return the CDS Hooks edge with its one service."""
    cds = running.settings.cds
    gateway = running.gateway
    manifests = tuple(model.manifest for model in gateway.releases.values())
    plan = compile_plan(manifests, gateway.terminology, gateway.observation_mode).without(gateway.never_asked)
    service = CdsService(
        id=CDS_SERVICE_ID,
        hook="patient-view",
        title="Clinical risk",
        description="Judges the record, runs the released risk models and shows a card above their alert thresholds; "
        "says so when there is no estimate.",
        prefetch=prefetch_templates(plan),
    )
    policy = CardPolicy(threshold=cds.threshold, thresholds=cds.thresholds, source_label=cds.source_label, valid_minutes=cds.valid_minutes)

    def render(answer: AssessmentAnswer) -> bytes:
        return orjson.dumps(render_cards(answer, policy))

    return CdsHooks(running.gateway, {service.id: service}, render, deadline_s=running.settings.server.deadline_cds_s)


def open_answers(running: Running, cds: CdsHooks, v2: OpenInference, checks: Mapping[str, Check]) -> dict[str, Callable[..., Answer]]:
    """Return what the routes without patient data answer."""
    today = running.gateway.clock.now().date().isoformat()
    capability = orjson.dumps(capability_statement(today, __version__, running.settings.server.public_url))
    definition = orjson.dumps(operation_definition(today))
    return {
        "/fhir/metadata": lambda: Answer(status=200, body=capability, media_type=FHIR_JSON),
        "/fhir/OperationDefinition/assess-risk": lambda: Answer(status=200, body=definition, media_type=FHIR_JSON),
        "/cds-services": cds.discover,
        "/health/live": live,
        "/health/ready": readiness(checks),
        "/metrics": metrics(render_metrics),
        "/v2": v2.server,
        "/v2/health/live": v2.live,
        "/v2/health/ready": readiness(checks),
        "/v2/models/{model}": v2.model,
        "/v2/models/{model}/versions/{version}": v2.model,
        "/v2/models/{model}/ready": v2.model_ready,
        "/v2/models/{model}/versions/{version}/ready": v2.model_ready,
    }


def create_app(
    settings: Settings, clock: Clock | None = None, open_trail: OpenTrail | None = None, workers: Path | None = None
) -> GatewayApi:
    """Return the ASGI application; everything is opened when it starts and closed when it stops. See `open_gateway`."""
    configure_logging(settings.logging.level, settings.logging.format)

    @contextlib.asynccontextmanager
    async def lifespan(app: GatewayApi) -> AsyncIterator[None]:
        async with _telling_why(), open_gateway(settings, clock, open_trail, workers) as running:
            refusals = RefusalLog(running.audit, settings.tenant.name, wait_s_max=settings.audit.wait_s_max)
            edge = Edge(
                LoopbackDevelopment(settings.tenant.name),
                refusals,
                running.gateway.clock,
                body_bytes_max=settings.server.body_bytes_max,
                concurrency_max=settings.server.concurrency_max,
            )
            mount(app, running, edge)
            app.state.takeover = takeover = Takeover(running, reload_models, lambda newer: mount(app, newer, edge))
            flushing = asyncio.create_task(refusals.run())
            gc.collect()
            gc.freeze()  # the start-up objects are never scanned again: a full collection would stall requests for 30 ms (serving 0.2)
            try:
                with takeover.on_signal():
                    yield
            finally:
                edge.draining = True
                await takeover.aclose()
                flushing.cancel()
                await asyncio.gather(flushing, return_exceptions=True)
                await refusals.flush()

    app = GatewayApi(
        title="Clinical inference gateway",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_error_answers(app)
    return app


@contextlib.asynccontextmanager
async def _telling_why() -> AsyncIterator[None]:
    """Log why a start failed; the server itself says only that it did."""
    try:
        yield
    except START_FAILURES as failure:
        _log.critical("the gateway does not start", reason=str(failure))
        raise


def mount(app: GatewayApi, running: Running, edge: Edge) -> None:
    """Mount every route of the table, in place of those mounted before; those without a patient in their path are found at once."""
    server = running.settings.server
    cds = make_cds(running)
    operation = AssessRisk(running.gateway, deadline_s=server.deadline_rest_s)
    v2 = OpenInference(running.gateway, deadline_s=server.deadline_rest_s, rows_max=server.infer_rows_max, ready=running.ready)
    audited = audited_routes(operation, cds, v2)
    unaudited = open_routes(open_answers(running, cds, v2, running.checks))
    routes = as_starlette(audited, unaudited, edge)
    hook = _endpoint(routes, "/cds-services/{service_id}")
    bare = _endpoint(routes, "/v2/models/{model}/infer")
    app.router.routes[:] = routes
    app.direct = {
        ("POST", "/fhir/$assess-risk"): (_endpoint(routes, "/fhir/$assess-risk"), {}),
        ("POST", f"/cds-services/{CDS_SERVICE_ID}"): (hook, {"service_id": CDS_SERVICE_ID}),
        **{("POST", f"/v2/models/{model}/infer"): (bare, {"model": model}) for model in running.gateway.releases},
    }
    if server.openapi:
        describe_routes(app, audited, unaudited)


def _endpoint(routes: Sequence[Route], path: str) -> ASGIApp:
    return next(route.app for route in routes if route.path == path)
