"""A model that a real third-party server runs (MLServer, scikit-learn), behind the same port: checked, audited, and left when it fails."""

import contextlib
import json
import subprocess
import sys
import time

import gateway_process
import httpx
import pytest
from brought_release import BIAS, KEY, NAME, REMOTE, WEIGHTS, probability, record, vectors, write_config, write_release
from model_server import model_server
from tool_environment import ServerMissing

from gateway.registry.folder import vouch_for

ROW = (60.0, 1.2, 90.0)
NUMBER = pytest.approx(probability(*ROW), abs=1e-9)
BODY = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP64", "data": ROW}]}
SECONDS_MAX = 40.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory):
    """Give the running server, with a logistic model whose coefficients we know."""
    try:
        with model_server(tmp_path_factory.mktemp("mlserver"), WEIGHTS, BIAS) as server:
            yield server
    except ServerMissing as missing:
        pytest.skip(str(missing))


def configured(folder, server, **remote):
    """Write the release and the configuration of a gateway whose model runs on the server."""
    if not (folder / "models").exists():
        write_release(folder / "models", changed=REMOTE)
    config = write_config(folder)
    config.write_text(config.read_text() + f'[models.remote.{NAME}]\nbase_url = "{server.base}"\nmodel = "logistic"\n')
    config.write_text(config.read_text() + "".join(f'{name} = "{text}"\n' for name, text in remote.items()))
    return config


def gateway(*arguments):
    """Run a command of the gateway."""
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=gateway_process.environment(), timeout=120, check=False)


class Asker:
    """Asks a gateway that serves the release."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def until(self, true):
        """Wait until something holds."""
        ends = time.monotonic() + SECONDS_MAX
        while time.monotonic() < ends:
            if true():
                return
            time.sleep(0.05)
        raise AssertionError("it never came to hold")

    def infer(self):
        """Ask for the row."""
        return self.http.post(f"/v2/models/{NAME}/infer", json=BODY)


@contextlib.contextmanager
def asking(config, **how):
    """Run a gateway and give who asks it."""
    with gateway_process.serving(config, **how) as running:
        asker = Asker(running.url)
        yield asker
        asker.http.close()


@pytest.fixture
def serving(tmp_path, mlserver):
    """Give a gateway whose model runs on the server, which runs."""
    with asking(configured(tmp_path, mlserver, version="v7")) as opened:
        yield opened


def test_every_vector_passes_on_the_other_server(tmp_path, mlserver):
    """The same command as for a graph of ours; the last line is the same."""
    told = gateway("models", "check", NAME, "--config", configured(tmp_path, mlserver))
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[0] == f"{NAME} runs on another server"
    assert told.stdout.splitlines()[-1] == "11 of 11 rows within tolerance"


def test_its_number_is_answered_and_named(serving, mlserver, tmp_path):
    """By `/v2`, and about a record, where the answer names the rung and version; both audited."""
    answer = serving.infer()
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [NUMBER]
    assert answer.headers["audit-receipt"]
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record()))
    arguments = ["--as-of", "2026-01-06T00:00:00Z", "--record-complete", "--json", "--setting", "inpatient"]
    told = gateway("assess", file, *arguments, "--config", configured(tmp_path, mlserver, version="v7"))
    assert told.returncode == 0, told.stderr
    (found,) = [one["resource"] for one in json.loads(told.stdout)["entry"] if one["resource"]["resourceType"] == "RiskAssessment"]
    assert found["prediction"][0]["probabilityDecimal"] == pytest.approx(100 * probability(*ROW), abs=1e-3)
    assert [each["valueCode"] for each in found["extension"] if each["url"].endswith("/rung")] == ["remote"]


def test_a_server_that_goes_away_is_left_and_taken_again(serving, mlserver):
    """No number while it is away, refused at once after three failures; when it is back and passes every vector, it answers."""
    mlserver.stop()
    refused = [serving.infer() for _ in range(4)]
    assert [answer.status_code for answer in refused] == [503] * 4
    assert serving.http.get(f"/v2/models/{NAME}/ready").status_code == 503
    mlserver.start()
    serving.until(lambda: serving.infer().status_code == 200)
    assert serving.infer().json()["outputs"][0]["data"] == [NUMBER]


def test_a_server_that_hangs_costs_no_more_than_the_deadline(serving, mlserver):
    """Ten seconds by default, for REST; then a refusal, and after it goes on, numbers."""
    mlserver.halt()
    began = time.monotonic()
    assert serving.infer().status_code == 503
    assert time.monotonic() - began < 12
    mlserver.go_on()
    serving.until(lambda: serving.infer().status_code == 200)


def test_another_version_than_the_configured_one_is_not_believed(tmp_path, mlserver):
    """The vectors do not even run."""
    told = gateway("models", "check", NAME, "--config", configured(tmp_path, mlserver, version="v8"))
    assert told.returncode == 1
    assert told.stdout.splitlines()[-1] == "1 of 11 rows within tolerance"  # the row that is not run, because an input is absent


def test_a_server_that_gives_other_numbers_is_never_asked(tmp_path, mlserver):
    """One vector says otherwise: the gateway runs, and the model has no device."""
    folder = write_release(tmp_path / "models", changed=REMOTE)
    (folder / "vectors.csv").write_text(vectors().replace(repr(probability(41, 1.4, 68)), "0.5"))
    assert ",0.5," in (folder / "vectors.csv").read_text()
    vouch_for(folder, KEY)
    with asking(configured(tmp_path, mlserver), ready_path="health/live") as opened:
        assert opened.http.get("/health/ready").status_code == 503
        assert opened.infer().status_code == 503
