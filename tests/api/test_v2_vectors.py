"""Every numeric vector of the shipped models through `/v2`, over real HTTP: the same numbers, or a refusal where an input is absent."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from served_gateway import serving, settings_in

from gateway.config import ModelSettings
from gateway.registry import check_file, load_code_sets, load_releases
from gateway.served_models import SHIPPED_MODELS

CLINICAL = Path(os.environ.get("GATEWAY_CLINICAL_DIR") or Path(__file__).resolve().parents[2].parent / "shared" / "clinical")
TERMINOLOGY = load_code_sets(SHIPPED_MODELS)
RELEASES = {release.manifest.name: release for release in load_releases(SHIPPED_MODELS, TERMINOLOGY)}


class Row(NamedTuple):
    """What a run gives."""

    values: tuple[float, ...]
    applicable: tuple[bool, ...]


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    """Give a client of a gateway with all models."""
    settings = settings_in(tmp_path_factory.mktemp("vectors"), "")
    with serving(msgspec.structs.replace(settings, models=ModelSettings())) as served:
        yield served.http


def over_http(http, manifest):
    """Return a run of one row by a request that names the row's variant."""
    ordered = sorted(manifest.outputs, key=lambda output: output.index)
    nothing = Row((math.nan,) * len(ordered), (False,) * len(ordered))
    names = {variant.index: variant.name for variant in manifest.variants}

    def run(tensors, variant):
        given = {name: value for name, value in tensors.items() if not math.isnan(value)}
        body = {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in given.items()]}
        if variant is not None:
            body["parameters"] = {"variant": names[variant]}
        answer = http.post(f"/v2/models/{manifest.name}/infer", json=body)
        if any(spec.tensor not in given for spec in manifest.inputs if not spec.optional):
            assert answer.status_code == 400, answer.text
            return nothing
        assert answer.status_code == 200, answer.text
        told = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        numbers = {name: data[0] for name, data in told.items() if name != "applicable"}
        return Row(tuple(numbers.get(output.name, math.nan) for output in ordered), tuple(told["applicable"]))

    return run


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_every_row_gives_the_same_numbers(http, figure, name):
    """Within the tolerance of the file; a row with an absent required input is refused, and so never a number."""
    release = RELEASES[name]
    file = CLINICAL / f"{name}_vectors.csv"
    content = file.read_bytes() if file.is_file() else release.vectors
    report = check_file(release, content, over_http(http, release.manifest), TERMINOLOGY).rows
    figure(f"{name} through /v2: {report.last_line}")
    assert report.failures == ()


def test_a_variant_that_is_not_there_is_refused(http):
    """As is one for a model without variants."""
    body = {"inputs": [], "parameters": {"variant": "third"}}
    assert http.post("/v2/models/news2/infer", json=body).status_code == 400
    assert http.post("/v2/models/fib4/infer", json=body).status_code == 400
