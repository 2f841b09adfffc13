"""A third party's model server, in an environment and a process of its own: MLServer with its scikit-learn runtime."""

import contextlib
import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tool_environment import ServerMissing, tool_environment

# The older loop: with a newer one this version of the server cannot start (its own parallel workers ask for a loop that is not there).
PACKAGES = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop<0.22")
READY_S_MAX = 120
TRAIN = """
import joblib, numpy, sys
from sklearn.linear_model import LogisticRegression
model = LogisticRegression().fit(numpy.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), [0, 1])
model.coef_, model.intercept_ = numpy.array([[{weights}]]), numpy.array([{bias}])
joblib.dump(model, sys.argv[1])
"""


class ModelServer:
    """The server with one model, `logistic`, version `v7`; it can be stopped, halted and started again on the same port."""

    def __init__(self, folder: Path, weights: tuple[float, ...], bias: float) -> None:
        self._python = tool_environment("mlserver", *PACKAGES)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        ports = [_free_port() for _ in range(3)]
        self.base = f"http://127.0.0.1:{ports[0]}"
        numbers = ", ".join(map(repr, weights))
        subprocess.run(
            [str(self._python), "-c", TRAIN.format(weights=numbers, bias=bias), str(folder / "model.joblib")],
            check=True,
            capture_output=True,
        )
        implementation = "mlserver_sklearn.SKLearnModel"
        parameters = {"uri": "./model.joblib", "version": "v7"}
        (folder / "model-settings.json").write_text(
            json.dumps({"name": "logistic", "implementation": implementation, "parameters": parameters})
        )
        settings = {"host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2], "parallel_workers": 0}
        (folder / "settings.json").write_text(json.dumps(settings))

    def start(self) -> None:
        """Start, and wait until the model is ready."""
        command = [str(self._python.parent / "mlserver"), "start", str(self._folder)]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + READY_S_MAX
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise ServerMissing("the model server ended at once")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.base}/v2/models/logistic/ready", timeout=2):
                return
            time.sleep(0.1)
        raise ServerMissing("the model server did not get ready")

    def stop(self) -> None:
        """End at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def halt(self) -> None:
        """Say nothing any more, with every connection open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def model_server(folder: Path, weights: tuple[float, ...], bias: float) -> Iterator[ModelServer]:
    """Run the server."""
    server = ModelServer(folder, weights, bias)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
