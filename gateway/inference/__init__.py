"""Runs released graphs. The one place that imports onnxruntime is `engine.py`.

    with open_workers(plan) as folder:                             one worker per device, started when a model needs it
        runtime = Runtime(plan, folder)
        runtime.load(release, self_test)                           self_test: raises when a vector fails
        await runtime.start()
        runtime.run("name", {"age_years": 65.0, ...}, None, 0.5)   -> EngineResult, or an awaitable of it; InferenceFailed

Tiny graphs run inside the server process (`engine.py`), all others in workers that can be killed (`worker.py`), each kept by a keeper and
reached over a link that is open only while the worker gives the right numbers.

Nothing is imported here: a worker must start without what only servers need (`from gateway.inference.runtime import Runtime`).
"""
