"""Runs released graphs. The one place that imports onnxruntime is `engine.py`.

    engine = InProcessEngine()
    engine.load(release, self_test)                       release: manifest and graph bytes; self_test: raises when a vector fails
    engine.run("name", {"age_years": 65.0, ...}, None)    -> EngineResult | InferenceFailed

Only tiny graphs run inside the server process; what needs a process of its own gets an engine with the same methods.
"""

from gateway.inference.engine import InProcessEngine
from gateway.inference.result import Device, EngineResult, InferenceFailed, RuntimeRefused

__all__ = ["Device", "EngineResult", "InProcessEngine", "InferenceFailed", "RuntimeRefused"]
