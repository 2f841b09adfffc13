"""Counting and logging, without patient data by construction.

Metrics have closed label sets, declared with the metric: any other value is counted as "other" (and raises under the tests). Log lines
carry only declared fields: words from a narrow alphabet, numbers, and a few texts that we write ourselves. Exceptions are logged by type
and place, never by text: it may quote a record. What other libraries log is reduced to their name and level.
Everything above may count and log; nothing here knows what it means.
"""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Literal, TextIO

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # unannotated upstream; drops one more series per child, which nobody reads
REGISTRY = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)
OTHER = "other"
SHARED_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the library's own: where the processes of one gateway keep what they count


class UndeclaredError(ValueError):
    """A label value or log field that was not declared. Raised only where the tests ask for it."""


class _Strictness:
    """Whether undeclared values raise (tests) or are made harmless and counted (everywhere else)."""

    raises = False


def raise_on_undeclared(*, raises: bool) -> None:
    """Let undeclared label values and log fields raise: for tests, so that a forgotten declaration is seen."""
    _Strictness.raises = raises


class _ClosedLabels:
    """The declared values of each label, in order."""

    def __init__(self, labels: Mapping[str, Iterable[str]]) -> None:
        self.names = tuple(labels)
        self._allowed = [{*values, OTHER} for values in labels.values()]

    def declare(self, label: str, values: Iterable[str]) -> None:
        """Add values to a label: names that are known only after loading, such as those of models."""
        self._allowed[self.names.index(label)].update(values)

    def close(self, values: Sequence[str]) -> tuple[str, ...]:
        """Return the values with each undeclared one replaced by "other"."""
        closed = tuple(value if value in allowed else OTHER for value, allowed in zip(values, self._allowed, strict=True))
        if _Strictness.raises and closed != tuple(values):
            raise UndeclaredError(f"undeclared value of one of the labels {self.names}")
        return closed


class ClosedCounter:
    """A counter whose label values were all declared; each child is bound once, so that counting is one addition."""

    def __init__(self, name: str, documentation: str, labels: Mapping[str, Iterable[str]]) -> None:
        self.labels = _ClosedLabels(labels)
        self._counter = Counter(name, documentation, self.labels.names, registry=REGISTRY)
        self._children: dict[tuple[str, ...], Counter] = {}

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Count `amount` under one value per label, in the order of the declaration."""
        child = self._children.get(values)
        if child is None:
            child = self._bind(values)
        child.inc(amount)

    def _bind(self, values: tuple[str, ...]) -> Counter:
        closed = self.labels.close(values)
        child = self._counter.labels(*closed) if closed else self._counter
        return self._children.setdefault(closed, child)


class ClosedHistogram:
    """A histogram whose label values were all declared; each child is bound once."""

    def __init__(
        self, name: str, documentation: str, labels: Mapping[str, Iterable[str]], *, buckets: Sequence[float] | None = None
    ) -> None:
        self.labels = _ClosedLabels(labels)
        self._histogram = Histogram(name, documentation, self.labels.names, buckets=tuple(buckets or LATENCY_BUCKETS_S), registry=REGISTRY)
        self._children: dict[tuple[str, ...], Histogram] = {}

    def observe(self, amount: float, *values: str) -> None:
        """Observe an amount (seconds, where the metric's name says so) under one value per label."""
        child = self._children.get(values)
        if child is None:
            child = self._bind(values)
        child.observe(amount)

    def _bind(self, values: tuple[str, ...]) -> Histogram:
        closed = self.labels.close(values)
        child = self._histogram.labels(*closed) if closed else self._histogram
        return self._children.setdefault(closed, child)


LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

OPERATIONS = ("assess-risk", "cds-hook", "infer", "cli")
STATUSES = ("200", "400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "500", "502", "503", "504")
VERDICTS = ("scored", "scored-degraded", "fallback", "indeterminate", "not-applicable")
RUNGS = ("gpu", "cpu", "remote", "fallback-score", "none")
GROUP_STATES = ("complete", "incomplete", "not-fetched", "not-allowed", "not-searched")

REQUESTS = ClosedCounter("gateway_requests", "Requests answered", {"operation": OPERATIONS, "status": STATUSES})
REQUEST_SECONDS = ClosedHistogram("gateway_request_seconds", "Seconds from the request to its answer", {"operation": OPERATIONS})
PULL_SECONDS = ClosedHistogram("gateway_pull_seconds", "Seconds of a pull whose Patient was had", {})
AUDIT_WAIT_SECONDS = ClosedHistogram("gateway_audit_wait_seconds", "Seconds a request waited for its audit record, durable or given up", {})
GROUPS = ClosedCounter("gateway_record_groups", "Groups of pulled records by the state in which they arrived", {"state": GROUP_STATES})
ANSWERS = ClosedCounter("gateway_answers", "Answers by model, verdict and rung", {"model": (), "verdict": VERDICTS, "rung": RUNGS})
LINKS_CLOSED = ClosedCounter(
    "gateway_device_links_closed", "Times a device that runs models was lost or failed its self-test", {"rung": RUNGS}
)
RELOADS = ClosedCounter("gateway_reloads", "Times the folder of releases was loaded anew", {"outcome": ("taken-over", "refused")})
LOG_REPAIRS = ClosedCounter("gateway_log_repairs", "Log lines from which something undeclared was taken out", {})


def declare_models(names: Iterable[str]) -> None:
    """Declare the models whose answers are counted; called after the releases are loaded."""
    ANSWERS.labels.declare("model", names)


def count_answer(model: str, verdict: str, rung: str) -> None:
    """Count one model's answer."""
    ANSWERS.add(model, verdict, rung)


def count_reload(outcome: str) -> None:
    """Count a reload that took over, or was refused."""
    RELOADS.add(outcome)


def count_link_closed(rung: str) -> None:
    """Count that a device is not used until it passes a self-test."""
    LINKS_CLOSED.add(rung)


def observe_request(operation: str, status: int, seconds: float) -> None:
    """Count one answered request and its duration."""
    REQUESTS.add(operation, str(status))
    REQUEST_SECONDS.observe(seconds, operation)


def render_metrics() -> bytes:
    """Return all metrics in Prometheus' text form; of several processes the sums, whichever is asked."""
    if SHARED_METRICS_VARIABLE not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # unannotated upstream
    return generate_latest(registry)


# What a log line may carry. A word is one token of a narrow alphabet: names, codes, states, versions, addresses of our own.
WORD_FIELDS = frozenset(
    {
        "address",
        "at",
        "check",
        "code",
        "component",
        "database",
        "direction",
        "fault",
        "group",
        "kind",
        "log_id",
        "model",
        "models",
        "operation",
        "profile",
        "release",
        "rung",
        "setting",
        "source",
        "state",
        "tenant",
        "verdict",
        "version",
    }
)
NUMBER_FIELDS = frozenset({"attempt", "count", "duration_ms", "index", "pid", "port", "seconds", "size", "status", "dropped"})
TEXT_FIELDS = frozenset({"detail", "problem", "reason"})  # sentences of our own: literals in this package, never built from a request
_WORD = re.compile(r"[A-Za-z0-9_.,:/+-]{0,128}")
_EVENT = re.compile(r"[a-z][a-z ,;'-]{0,99}")  # no digit and no capital: an event is a literal, not a sentence about somebody
_TEXT_CHARACTERS_MAX = 300

_request_id: ContextVar[str] = ContextVar("request_id", default="")


@contextlib.contextmanager
def request_context(request_id: str) -> Iterator[None]:
    """Bind the request id to every log line written inside."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose lines carry an event, declared fields and the name as `component`."""
    return structlog.get_logger(component=name)  # type: ignore[no-any-return]  # structlog types its lazy proxy as Any


def configure_logging(level: str = "info", form: Literal["auto", "json", "console"] = "auto", stream: TextIO | None = None) -> None:
    """Configure the one log: JSON lines, or readable lines on a terminal. Standard error unless told: standard output is for answers."""
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderer = structlog.dev.ConsoleRenderer(colors=out.isatty()) if console else structlog.processors.JSONRenderer(serializer=_as_json)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_faults,
            keep_declared_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Printer(out),
        cache_logger_on_first_use=False,  # a second configuration must reach the loggers made before it
    )
    quieten_libraries()


class _Printer:
    """Prints lines. A log that cannot be written (a full disk, a closed pipe) costs its lines, never an answer or a thread."""

    def __init__(self, out: TextIO) -> None:
        self._printer = structlog.PrintLogger(out)

    def msg(self, message: str) -> None:
        """Print one line."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._printer.msg(message)

    log = debug = info = warn = warning = error = critical = fatal = failure = exception = msg


def _as_json(event: structlog.typing.EventDict, **_: object) -> str:
    return orjson.dumps(event).decode()


def name_faults(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Turn `exc_info` into the type of the exception and the place in our code that raised it; its text never gets further."""
    given = event.pop("exc_info", None)
    error = sys.exception() if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["fault"] = type(error).__name__
        event["at"] = _place_of(error.__traceback__)
    return event


def _place_of(traceback: TracebackType | None) -> str:
    """Return module and line of the innermost frame of this package, else of any."""
    place = ours = ""
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        place = f"{module}:{traceback.tb_lineno}"
        ours = place if module.split(".")[0] == __package__ else ours
        traceback = traceback.tb_next
    return ours or place


def keep_declared_fields(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep what is declared and well formed, take out the rest and count the repair; a value nobody vetted never reaches the log."""
    kept = {key: value for key, value in event.items() if _may_pass(key, value)}
    if len(kept) < len(event):
        if _Strictness.raises:
            raise UndeclaredError(f"undeclared log fields: {sorted(event.keys() - kept.keys())}")
        LOG_REPAIRS.add()
        repaired = len(event) - len(kept)
        kept.setdefault("event", "undeclared event")
        kept["repaired"] = repaired
    request_id = _request_id.get()
    if request_id:
        kept["request_id"] = request_id
    return kept


def _may_pass(key: str, value: object) -> bool:
    if key in WORD_FIELDS:
        return value is None or (isinstance(value, str) and _WORD.fullmatch(value) is not None)
    if key in NUMBER_FIELDS:
        return isinstance(value, int | float)
    if key == "event":
        return isinstance(value, str) and _EVENT.fullmatch(value) is not None
    if key in TEXT_FIELDS:
        return isinstance(value, str) and len(value) <= _TEXT_CHARACTERS_MAX and value.isprintable()
    return key in {"level", "timestamp"}


class _LibraryLog(logging.Handler):
    """Passes on that a library reported something, never what: its arguments may hold an address, a header or a record."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the library's name and, if there was one, the type of the exception."""
        kind = record.exc_info[0] if record.exc_info else None
        get_logger(_word(record.name)).log(record.levelno, "a library reported a problem", fault=kind.__name__ if kind else None)


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else "undeclared"


_LIBRARY_LOG = _LibraryLog(level=logging.WARNING)
_SILENT_LOGGERS = ("uvicorn.access", "aiohttp.access", "prometheus_client")
_TALKATIVE_LOGGERS = (
    "httpx",
    "httpcore",
    "aiohttp",
    "aiohttp.client",
    "aiohttp.server",
    "asyncio",
    "alembic",
    "sqlalchemy",
    "uvicorn",
    "uvicorn.error",
)


def quieten_libraries() -> None:
    """Route what libraries log, and Python's own warnings, through the one log as name and level only. Safe to call again."""
    root = logging.getLogger()
    if _LIBRARY_LOG not in root.handlers:
        root.addHandler(_LIBRARY_LOG)
    root.setLevel(logging.WARNING)
    for name in _TALKATIVE_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.WARNING)
        logger.propagate = True
    for name in _SILENT_LOGGERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = False
        logging.getLogger(name).disabled = True
    logging.captureWarnings(capture=True)


def log_crashes() -> None:
    """Let an exception that nobody caught, in any thread, leave a log line with its type and place instead of a traceback with its text."""
    log = get_logger("gateway")

    def of_process(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
        log.critical("the process ends on an unforeseen fault", exc_info=error)

    def of_thread(args: threading.ExceptHookArgs) -> None:
        log.critical("a thread ended on an unforeseen fault", exc_info=args.exc_value)

    sys.excepthook = of_process
    threading.excepthook = of_thread
