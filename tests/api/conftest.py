"""One gateway and one FHIR server for all tests of the edges; faults are undone after each."""

import pytest
from served_gateway import faulty_fhir, serving, settings_in


@pytest.fixture(scope="session")
def fhir_server():
    """Give the misbehaving FHIR server and its base URL."""
    with faulty_fhir() as opened:
        yield opened


@pytest.fixture(scope="session")
def gateway_session(fhir_server, tmp_path_factory):
    """Give the running gateway; telemetry is repaired, not strict, in its thread: the strict switch belongs to single tests."""
    _, base_url = fhir_server
    with serving(settings_in(tmp_path_factory.mktemp("api"), base_url, body_bytes_max=2_000_000)) as served:
        yield served


@pytest.fixture
def fhir(fhir_server):
    """Give the FHIR server, well behaved and with nothing seen."""
    door, _ = fhir_server
    door.faults.clear()
    door.seen.clear()
    yield door
    door.faults.clear()


@pytest.fixture
def gateway(gateway_session, fhir):
    """Give the running gateway."""
    return gateway_session
