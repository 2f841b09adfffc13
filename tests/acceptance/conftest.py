"""Real servers for the acceptance tests: skipped with a reason where one cannot run, failing where it has to."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import hapi_server


@pytest.fixture(scope="session")
def hapi() -> Iterator[hapi_server.HapiServer]:
    """A real HAPI FHIR server, empty at the start of the session, with HAPI's own search cache of 60 s."""
    started = hapi_server.running()
    try:
        server = started.__enter__()
    except hapi_server.HapiMissing as missing:
        if os.environ.get("GATEWAY_REQUIRE_SERVERS") == "1":
            pytest.fail(f"HAPI FHIR is required here: {missing}")
        pytest.skip(f"HAPI FHIR cannot run here: {missing}")
    try:
        yield server
    finally:
        started.__exit__(None, None, None)
