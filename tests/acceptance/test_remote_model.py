"""A model that a real third-party server runs (MLServer, scikit-learn), behind the same port: checked, audited, and left when it fails."""

import json
import subprocess
import sys
import time

import httpx
import pytest
from brought_release import BIAS, KEY, NAME, REMOTE, WEIGHTS, probability, vectors, write_config, write_release
from gateway_process import environment
from model_server import ServerMissing, model_server

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
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120, check=False)


class Serving:
    """A gateway that serves the release."""

    def __init__(self, config):
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment())
        base = self._process.stdout.readline().removeprefix("listening on ").strip()
        self.http = httpx.Client(base_url=base, timeout=30, trust_env=False)
        self.until(lambda: self.http.get("/health/live").status_code == 200)

    def until(self, true):
        """Wait until something holds."""
        ends = time.monotonic() + SECONDS_MAX
        while time.monotonic() < ends:
            try:
                if true():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("it never came to hold")

    def infer(self):
        """Ask for the row."""
        return self.http.post(f"/v2/models/{NAME}/infer", json=BODY)

    def close(self):
        """End the gateway."""
        self.http.close()
        self._process.terminate()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture
def serving(tmp_path, mlserver):
    """Give a gateway whose model runs on the server, which runs."""
    opened = Serving(configured(tmp_path, mlserver, version="v7"))
    yield opened
    opened.close()


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
    subject = {"reference": "Patient/w"}
    resources = [{"resourceType": "Patient", "id": "w", "gender": "male", "birthDate": "1966-01-01"}]
    for code, value, unit in (("2160-0", 1.2, "mg/dL"), ("8867-4", 90.0, "/min")):
        resources.append(
            {
                "resourceType": "Observation", "id": f"o{code}", "status": "final", "subject": subject,
                "effectiveDateTime": "2026-01-05T23:00:00Z", "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit},
            }
        )  # fmt: skip
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}))
    arguments = ["--as-of", "2026-01-06T00:00:00Z", "--record-complete", "--json", "--setting", "inpatient"]
    told = gateway("assess", record, *arguments, "--config", configured(tmp_path, mlserver, version="v7"))
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
    opened = Serving(configured(tmp_path, mlserver))
    try:
        assert opened.http.get("/health/ready").status_code == 503
        assert opened.infer().status_code == 503
    finally:
        opened.close()
