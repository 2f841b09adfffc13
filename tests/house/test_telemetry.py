"""Counting and logging: nothing that was not declared gets through."""

import io
import json
import logging
import sys
import threading
import warnings

import pytest
import structlog

from gateway import telemetry
from gateway.telemetry import ClosedCounter, ClosedHistogram, UndeclaredError, configure_logging, get_logger, render_metrics

SECRET = "Jane Doe 1961"  # stands for anything about a patient


@pytest.fixture
def lenient():
    """Repair instead of raising, as outside the tests."""
    telemetry.raise_on_undeclared(raises=False)


@pytest.fixture
def log():
    """The log as a list of decoded lines, and everything that was configured put back afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    before = (root.level, list(root.handlers), sys.excepthook, threading.excepthook)
    configure_logging("debug", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    sys.excepthook, threading.excepthook = before[2:]
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def sample(name):
    return [line for line in render_metrics().decode().splitlines() if line.startswith(name)]


def test_undeclared_label_value_is_counted_as_other(lenient):
    """A label value from outside the closed set never becomes a series of its own."""
    counter = ClosedCounter("house_lenient", "For this test", {"state": ("good", "bad")})
    counter.add("good")
    counter.add(SECRET)
    counter.add(SECRET)
    assert sample("house_lenient_total") == ['house_lenient_total{state="good"} 1.0', 'house_lenient_total{state="other"} 2.0']


def test_undeclared_label_value_raises_under_test():
    """Under the tests a forgotten declaration is an error, and the error does not repeat the value."""
    counter = ClosedCounter("house_strict", "For this test", {"state": ("good",)})
    histogram = ClosedHistogram("house_strict_seconds", "For this test", {"state": ("good",)})
    for count in (lambda: counter.add(SECRET), lambda: histogram.observe(1.0, SECRET)):
        with pytest.raises(UndeclaredError) as raised:
            count()
        assert SECRET not in str(raised.value)


def test_models_are_declared_once_they_are_known():
    """A model's answers can be counted after its name was declared, and not before."""
    with pytest.raises(UndeclaredError):
        telemetry.count_answer("model-of-this-test", "scored", "cpu")
    telemetry.declare_models(["model-of-this-test"])
    telemetry.count_answer("model-of-this-test", "scored", "cpu")
    assert sample('gateway_answers_total{model="model-of-this-test"') == [
        'gateway_answers_total{model="model-of-this-test",rung="cpu",verdict="scored"} 1.0'
    ]


def test_a_request_is_counted_with_its_duration():
    """One answered request is one count and one observation."""
    before = sample('gateway_request_seconds_count{operation="cds-hook"}')
    telemetry.observe_request("cds-hook", 200, 0.003)
    after = sample('gateway_request_seconds_count{operation="cds-hook"}')
    assert after != before
    assert sample('gateway_requests_total{operation="cds-hook",status="200"}')


def test_a_declared_line_is_written_with_its_request_id(log):
    """A line carries event, level, time, component, declared fields and the request's id."""
    with telemetry.request_context("r-1"):
        get_logger("gateway.house").info("answered", operation="assess-risk", status=200)
    get_logger("gateway.house").info("stopped")
    first, second = log()
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "answered",
        "level": "info",
        "component": "gateway.house",
        "operation": "assess-risk",
        "status": 200,
        "request_id": "r-1",
    }
    assert "request_id" not in second


@pytest.mark.parametrize(
    "fields",
    [
        {"patient": "demo-1"},
        {"code": SECRET},
        {"status": SECRET},
        {"detail": "line\nbreak"},
        {"detail": "x" * 301},
        {"event": f"Patient {SECRET}"},
        {"model": ["a"]},
    ],
)
def test_undeclared_or_malformed_fields_never_reach_the_log(log, lenient, fields):
    """What is not declared, or not of the declared form, is taken out, and the line says that something was."""
    event = fields.pop("event", "answered")
    get_logger("gateway.house").info(event, **fields)
    (line,) = log()
    assert line["repaired"] == 1
    assert set(line) <= {"event", "level", "timestamp", "component", "repaired"}
    assert SECRET not in json.dumps(line)


def test_undeclared_fields_raise_under_test(log):
    """Under the tests a field that nobody declared is an error."""
    with pytest.raises(UndeclaredError, match="patient"):
        get_logger("gateway.house").info("answered", patient="demo-1")
    assert log() == []


def test_an_exception_is_logged_by_type_and_place_alone(log):
    """The text of an exception may quote a record: only its type and where it came from are written."""
    try:
        telemetry.ANSWERS.labels.declare(SECRET, ())
    except ValueError:
        get_logger("gateway.house").error("it failed", exc_info=True)
    (line,) = log()
    assert line["fault"] == "ValueError"
    assert line["at"].startswith("gateway.telemetry:")
    assert SECRET not in json.dumps(line)


def test_libraries_and_warnings_say_only_that_there_was_something(log):
    """A library's message, a traceback's text and a Python warning are reduced to name, level and type."""
    logging.getLogger("httpx").info("GET /Patient/%s", SECRET)
    logging.getLogger("uvicorn.access").error("GET /Patient/%s", SECRET)
    logging.getLogger("uvicorn.error").error("failed on %s", SECRET, exc_info=RuntimeError(SECRET))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(SECRET, stacklevel=1)
    lines = log()
    assert [(line["component"], line["level"]) for line in lines] == [("uvicorn.error", "error"), ("py.warnings", "warning")]
    assert lines[0]["fault"] == "RuntimeError"
    assert SECRET not in json.dumps(lines)


def test_a_crash_leaves_a_line_without_its_text(log):
    """An exception that nobody caught, in a thread or in the process, is logged by type."""
    telemetry.log_crashes()
    error = RuntimeError(SECRET)
    sys.excepthook(RuntimeError, error, None)
    threading.excepthook(threading.ExceptHookArgs((RuntimeError, error, None, None)))
    lines = log()
    assert [(line["level"], line["fault"]) for line in lines] == [("critical", "RuntimeError")] * 2
    assert SECRET not in json.dumps(lines)


def test_readable_lines_follow_the_same_rules(log, lenient):
    """The form for people drops the same things as the form for programs."""
    stream = io.StringIO()
    configure_logging("info", "console", stream)
    get_logger("gateway.house").info("answered", patient=SECRET, status=200)
    get_logger("gateway.house").debug("not shown")
    assert "answered" in stream.getvalue()
    assert "status=200" in stream.getvalue()
    assert SECRET not in stream.getvalue()
    assert "not shown" not in stream.getvalue()


def test_a_log_that_cannot_be_written_costs_only_its_lines(log):  # the fixture puts back what is configured here
    """A closed stream, a full disk: whoever logs goes on, and what can be written again is written."""

    class Full(io.StringIO):
        def write(self, _text):
            raise OSError(28, "No space left on device")

    closed = io.StringIO()
    closed.close()
    for stream in (closed, Full()):
        configure_logging("info", "json", stream)
        get_logger("gateway.test").error("a worker ended and is replaced", status=1)
    good = io.StringIO()
    configure_logging("info", "json", good)
    get_logger("gateway.test").error("a worker ended and is replaced", status=2)
    assert [json.loads(line)["status"] for line in good.getvalue().splitlines()] == [2]
