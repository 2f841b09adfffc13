"""New releases in a serving gateway: a good one takes over, a bad one changes nothing, and no request is lost on the way."""

import asyncio
import signal
import threading
import time

import gateway_process
import httpx
import pytest
from brought_release import NAME, graph_bytes, probability, vectors, write_config, write_release
from served_gateway import serving

from gateway.config import load_settings

ROW = [60.0, 1.2, 90.0]
INFER = f"/v2/models/{NAME}/infer"
BODY = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": ROW}]}
SECONDS_MAX, ANSWERS_BEFORE_MIN = 30.0, 100


def version(http: httpx.Client) -> str:
    """Return the version that answers; its number must be right."""
    answer = http.post(INFER, json=BODY)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [pytest.approx(probability(*ROW), abs=1e-6)]
    return answer.json()["model_version"]


def reload(gateway) -> bool:
    """Let a gateway of this process load its releases anew."""
    return asyncio.run_coroutine_threadsafe(gateway.app.state.takeover.reload(), gateway.app.state.takeover.loop).result(SECONDS_MAX)


@pytest.fixture
def gateway(tmp_path):
    """Give a gateway that serves version 0.1.0."""
    write_release(tmp_path / "models")
    with serving(load_settings(write_config(tmp_path), {})) as served:
        assert version(served.http) == "0.1.0"
        yield served


def test_a_newer_version_takes_over(gateway, tmp_path):
    """It is a folder beside the old one; metadata and answers name it, and no other."""
    write_release(tmp_path / "models", version="0.2.0")
    assert reload(gateway)
    assert version(gateway.http) == "0.2.0"
    assert gateway.http.get(f"/v2/models/{NAME}").json()["versions"] == ["0.2.0"]
    assert gateway.http.get(f"/v2/models/{NAME}/versions/0.1.0").status_code == 404
    assert [field for field in gateway.log() if field["type"] == "RESULT"][-1]["model_id"] == f"{NAME}@0.2.0"


BAD = {
    "one vector differs": lambda folder: (folder / "vectors.csv").write_text(vectors().replace("v3,", "v3,1", 1)),
    "one file was changed after signing": lambda folder: (folder / "model.onnx").write_bytes(graph_bytes() + b"\0"),
    "a graph that cannot be loaded": lambda folder: (folder / "model.onnx").write_bytes(b"no model"),
    "no signature": lambda folder: (folder / "SHA256SUMS.sig").unlink(),
}


@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_release_never_replaces_a_good_one(gateway, tmp_path, what):
    """Whatever is wrong with it, the one served before still answers."""
    BAD[what](write_release(tmp_path / "models", version="0.2.0"))
    assert not reload(gateway)
    assert version(gateway.http) == "0.1.0"


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.timeout(120)
def test_nothing_is_lost_while_versions_change(tmp_path, processes, figure):
    """On a signal, under load: every request is answered with the right number by one of the versions, and the last by the newest."""
    write_release(tmp_path / "models")
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("port = 0", f"port = 0\nprocesses = {processes}"))
    with gateway_process.serving(config) as running:
        base, process = running.url, running.process
        told: list[str] = []
        wrong: list[BaseException] = []
        slowest: list[float] = []
        stop = threading.Event()

        def ask() -> None:
            try:
                with httpx.Client(base_url=base, timeout=20, trust_env=False) as http:
                    while not stop.is_set():
                        began = time.monotonic()
                        told.append(version(http))
                        slowest.append(time.monotonic() - began)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test fails with it
                wrong.append(error)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        ends = time.monotonic() + SECONDS_MAX
        while len(told) < ANSWERS_BEFORE_MIN and not wrong and time.monotonic() < ends:
            time.sleep(0.02)
        for newer in ("0.2.0", "0.3.0"):
            write_release(tmp_path / "models", version=newer)
            process.send_signal(signal.SIGHUP)
            ends = time.monotonic() + SECONDS_MAX
            while set(told[-40:]) != {newer} and not wrong and time.monotonic() < ends:
                time.sleep(0.05)
        stop.set()
        for client in clients:
            client.join()
        figure(
            f"reload with {processes} processes: {len(told)} answers over two changes of version, {len(wrong)} lost or wrong, "
            f"slowest {max(slowest):.2f} s"
        )
        assert wrong == []
        assert set(told) == {"0.1.0", "0.2.0", "0.3.0"}
        assert set(told[-20:]) == {"0.3.0"}
