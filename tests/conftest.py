"""What holds for every test: a clean environment, strict telemetry, real servers where they must be there, and an honest summary."""

import os
from collections.abc import Callable, Generator, Iterator

import pytest

from gateway.telemetry import raise_on_undeclared

# The variables of the environment that are addressed to the tests, with what their absence means. Every other GATEWAY_ variable is removed.
TEST_VARIABLES = {
    "GATEWAY_CLINICAL_DIR": "vector files: the folder beside the project, else those shipped with the models",
    "GATEWAY_PATIENTS_DIR": "third-party patients: the folder beside the project, else their tests are skipped",
    "GATEWAY_BENCH_DIR": "reference program of the benchmark: the folder beside the project",
    "GATEWAY_REQUIRE_SERVERS": "a real server that is missing is a skip, not a failure",
    "GATEWAY_GPU_PYTHON": "the GPU path is not run; it names the Python of an environment with the GPU build of the runtime",
    "GATEWAY_TEST_CACHE": "builds of real servers: kept below the home folder",
    "GATEWAY_KILLS": "kills of a campaign: the number the test names",
    "GATEWAY_WORKER_FAULTS": "faults of each kind in the campaign against workers: the number the test names",
    "GATEWAY_SEED": "seed of a campaign: the one the test names",
}
DATA_VARIABLES = ("GATEWAY_CLINICAL_DIR", "GATEWAY_PATIENTS_DIR")
SERVER_FIXTURES = frozenset({"hapi", "mlserver", "moto", "reopen", "softhsm"})  # whoever asks for one of these needs a real server

FIGURE = "figure"


def servers_required() -> bool:
    """Tell whether a missing real server is a failure."""
    return os.environ.get("GATEWAY_REQUIRE_SERVERS") == "1"


def pytest_configure() -> None:
    """Remove what the operator's environment would change, before anything is imported that reads it."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests that load the models' runtime by itself must not report to its maker either
    for name in list(os.environ):
        if name.startswith("GATEWAY_") and name not in TEST_VARIABLES:
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a real server."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.needs_server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test that needs a real server into a failure where the servers must be there."""
    report = yield
    if report.skipped and servers_required() and item.get_closest_marker("needs_server") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if any(name in reason for name in DATA_VARIABLES):
            return report  # the server is there, the records to put into it are not
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a real server is required here. {reason}"
    return report


@pytest.fixture(autouse=True)
def _strict_telemetry() -> Iterator[None]:
    """Let an undeclared label value or log field fail the test instead of being repaired."""
    raise_on_undeclared(raises=True)
    yield
    raise_on_undeclared(raises=False)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a line (a count, a table) to the summary that every run prints."""

    def add(text: str) -> None:
        request.node.user_properties.append((FIGURE, text))  # travels with the report, from whichever process runs the test

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of the run, what steered it, and every test that could not run with its reason."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "call"]
    figures = [text for report in reports for name, text in report.user_properties if name == FIGURE]
    if figures:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(text)
    terminalreporter.section("environment of the tests")
    for name, absence in TEST_VARIABLES.items():
        terminalreporter.write_line(f"{name}={os.environ[name]}" if name in os.environ else f"{name} is not set: {absence}")
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.section(f"could not run here: {len(skipped)}")
    for reason, names in sorted(_by_reason(skipped).items()):
        terminalreporter.write_line(reason)
        for name in names:
            terminalreporter.write_line(f"    {name}")


def _by_reason(skipped: list[pytest.TestReport]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        grouped.setdefault(reason.removeprefix("Skipped: ") or "no reason given", []).append(report.nodeid)
    return grouped
