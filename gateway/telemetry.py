"""Counting and logging, without patient data by construction.

Metrics have closed label sets: a label value that is not declared is counted as "other". Log lines carry only declared fields, and exceptions
are logged by type: their texts may quote a record. Everything above may count and log; nothing here knows what it means.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry(auto_describe=True)
OTHER = "other"

# Fields a log line may carry besides event, level, time and request id. None of them can hold patient data.
LOG_FIELDS = frozenset({
    "address", "attempt", "check", "code", "count", "database", "detail", "duration_ms", "fault", "group", "index", "log_id", "model", "models",
    "operation", "pid", "port", "problem", "profile", "reason", "release", "rung", "state", "status", "verdict", "version",
})
_CHATTY_LOGGERS = ("httpx", "httpcore", "aiohttp", "aiohttp.access", "aiohttp.client", "uvicorn.access", "asyncio", "alembic", "sqlalchemy")

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

OPERATIONS = ("assess-risk", "cds-hook", "cli", OTHER)
STATUSES = ("200", "400", "401", "403", "404", "409", "412", "413", "500", "502", "503", "504", OTHER)
VERDICTS = ("scored", "scored-degraded", "fallback", "indeterminate", "not-applicable", OTHER)
RUNGS = ("gpu", "cpu", "fallback-score", "none", OTHER)
GROUP_STATES = ("complete", "incomplete", "not-fetched", "not-allowed", "not-searched", OTHER)


class ClosedCounter:
    """A counter whose label values were all declared; each child is bound once, so that counting is one addition."""

    def __init__(self, name: str, documentation: str, labels: Mapping[str, Sequence[str]]) -> None:
        self._counter = Counter(name, documentation, tuple(labels), registry=REGISTRY)
        self._allowed = tuple(frozenset(values) for values in labels.values())
        self._children: dict[tuple[str, ...], Any] = {}

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Count. An undeclared label value is counted as "other"."""
        child = self._children.get(values)
        if child is None:
            closed = tuple(value if value in allowed else OTHER for value, allowed in zip(values, self._allowed, strict=True))
            child = self._counter.labels(*closed)
            if closed == values:
                self._children[values] = child
        child.inc(amount)


class ClosedHistogram:
    """A histogram of seconds whose label values were all declared."""

    def __init__(self, name: str, documentation: str, labels: Mapping[str, Sequence[str]]) -> None:
        self._histogram = Histogram(name, documentation, tuple(labels), buckets=_LATENCY_BUCKETS_S, registry=REGISTRY)
        self._allowed = tuple(frozenset(values) for values in labels.values())

    def observe(self, seconds: float, *values: str) -> None:
        """Observe a duration. An undeclared label value is counted as "other"."""
        closed = (value if value in allowed else OTHER for value, allowed in zip(values, self._allowed, strict=True))
        self._histogram.labels(*closed).observe(seconds)


REQUESTS = ClosedCounter("gateway_requests_total", "Requests answered", {"operation": OPERATIONS, "status": STATUSES})
REQUEST_SECONDS = ClosedHistogram("gateway_request_seconds", "Seconds per request", {"operation": OPERATIONS})
GROUPS = ClosedCounter("gateway_record_groups_total", "Groups of records by the state in which they arrived", {"state": GROUP_STATES})
AUDIT_RECORDS = Gauge("gateway_audit_index", "Index of the newest audit record", registry=REGISTRY)
READY = Gauge("gateway_ready", "1 when the gateway can answer", registry=REGISTRY)
_VERDICTS: dict[str, ClosedCounter] = {}


def declare_models(names: Sequence[str]) -> None:
    """Declare the models whose verdicts are counted; called once, after the releases are loaded."""
    if "verdicts" not in _VERDICTS:
        labels = {"model": (*names, OTHER), "verdict": VERDICTS, "rung": RUNGS}
        _VERDICTS["verdicts"] = ClosedCounter("gateway_answers_total", "Answers by model, verdict and rung", labels)


def count_answer(model: str, verdict: str, rung: str) -> None:
    """Count one model's answer."""
    counter = _VERDICTS.get("verdicts")
    if counter is not None:
        counter.add(model, verdict, rung)


def observe_request(operation: str, status: int, seconds: float) -> None:
    """Count one answered request and its duration."""
    REQUESTS.add(operation, str(status))
    REQUEST_SECONDS.observe(seconds, operation)


def render_metrics() -> bytes:
    """Return all metrics in Prometheus' text form."""
    return generate_latest(REGISTRY)


@contextlib.contextmanager
def request_context(request_id: str) -> Iterator[None]:
    """Bind the request id to every log line written inside."""
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        yield


def get_logger(name: str) -> Any:  # noqa: ANN401 - structlog's bound loggers are typed as Any by design
    """Return a logger that writes an event name and declared fields."""
    return structlog.get_logger(name)


def configure_logging(level: str = "info", form: Literal["auto", "json", "console"] = "auto", stream: TextIO | None = None) -> None:
    """Configure the one log: JSON lines, or readable lines on a terminal."""
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer(colors=out.isatty()) if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            keep_declared_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    quieten_libraries()


def keep_declared_fields(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:  # noqa: ANN401 - structlog's processor signature
    """Drop every field that is not declared, and say how many were: a value nobody vetted never reaches the log."""
    always = {"event", "level", "timestamp", "request_id"}
    kept = {key: value for key, value in event.items() if key in always or key in LOG_FIELDS}
    if len(kept) < len(event):
        kept["count"] = len(event) - len(kept)
        kept["problem"] = "undeclared fields were dropped"
    return kept


def quieten_libraries() -> None:
    """Silence libraries that print URLs: below WARNING they say nothing, above it nothing with a traceback."""
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger(name).propagate = False
        if not logging.getLogger(name).handlers:
            logging.getLogger(name).addHandler(logging.NullHandler())
