"""An embedded, read-only FHIR R4 server with the project's synthetic patients: for the demo, for trying out, for fast tests."""

from gateway.sandbox.fixture import fixtures_dir, load_fixtures
from gateway.sandbox.server import SandboxServer

__all__ = ["SandboxServer", "fixtures_dir", "load_fixtures"]
