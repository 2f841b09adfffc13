"""Open Inference Protocol v2 over REST: metadata, health, infer (kserve/open-inference-protocol, inference_rest.md).

A number that does not apply is never written: an output that no caller named is left out, one that was named refuses the request, and the
BOOL output `applicable` tells of every output and row. Raw numbers of a graph are no clinical answer; `$assess-risk` gives those.
"""

from collections.abc import Callable, Mapping, Sequence

import orjson

from gateway import __version__
from gateway.api.exchange import JSON, Answer, Exchange
from gateway.api.v2_request import APPLICABLE, DATATYPE, DATATYPES, V2Request, named_variant, read_request
from gateway.assessment.assess import Gateway
from gateway.assessment.infer import InferenceRequest, InferredRow, infer, variant_of
from gateway.assessment.ports import ReleasedModel
from gateway.clock import Deadline
from gateway.errors import ErrorCode, GatewayError, NotApplicable, NotFound
from gateway.features.manifest import ModelManifest, OutputSpec, Variant
from gateway.identity import Caller

OPERATION = "infer"
PLATFORM = "onnx_onnxv1"


def error_answer(error: GatewayError) -> tuple[bytes, str]:
    """Return an error in the protocol's form, with our stable code beside the text, and its media type."""
    return orjson.dumps({"error": error.public, "code": error.code.value}), JSON


class OpenInference:
    """The endpoints of the protocol."""

    def __init__(self, gateway: Gateway, *, deadline_s: float, rows_max: int, ready: Callable[[str], bool]) -> None:
        """`ready`: tells whether a model has a device that answers."""
        self._gateway = gateway
        self._ready = ready
        self._deadline_s = deadline_s
        self._rows_max = rows_max

    def server(self) -> Answer:
        """Answer `GET /v2`."""
        return _json({"name": "gateway", "version": __version__, "extensions": []})

    def live(self) -> Answer:
        """Answer `GET /v2/health/live`."""
        return _json({"live": True})

    def model(self, model: str, version: str | None = None) -> Answer:
        """Answer `GET /v2/models/{model}`: what goes in and comes out, with units."""
        try:
            release = self._release(model, version)
        except NotFound as error:
            return _refusal(error)
        return _json(_metadata(release.manifest))

    def model_ready(self, model: str, version: str | None = None) -> Answer:
        """Answer `GET /v2/models/{model}/ready`: a model that is served has passed its vectors; its device may have been lost since."""
        try:
            release = self._release(model, version)
        except NotFound as error:
            return _refusal(error)
        ready = self._ready(release.manifest.name)
        return Answer(status=200 if ready else 503, body=orjson.dumps({"name": release.manifest.name, "ready": ready}), media_type=JSON)

    async def infer(self, exchange: Exchange, caller: Caller) -> Answer:
        """Answer `POST /v2/models/{model}/infer`."""
        deadline = Deadline(self._gateway.clock, self._deadline_s)
        release = self._release(exchange.path_parameters["model"], exchange.path_parameters.get("version"))
        body = await exchange.read_json_bytes()
        asked, rows = read_request(body, release.manifest, rows_max=self._rows_max)
        variant = named_variant(asked, release.manifest) or variant_of(release.manifest, rows[0].keys())
        request = InferenceRequest(
            caller=caller,
            request_id=exchange.request_id,
            deadline=deadline,
            release=release,
            rows=rows,
            variant=variant,
            asked=body,
            client_left=exchange.client_left,
        )
        done = await infer(request, self._gateway, lambda found: render(release.manifest, asked, found, variant))
        return Answer(status=200, body=done.body, media_type=JSON, headers={"audit-receipt": done.receipt}, wanted=done.wanted)

    def _release(self, model: str, version: str | None) -> ReleasedModel:
        release = self._gateway.releases.get(model)
        if release is None or version not in (None, release.manifest.version):
            raise NotFound(ErrorCode.UNKNOWN_MODEL, "No such model or version is released here.")
        return release


def render(manifest: ModelManifest, asked: V2Request, rows: Sequence[InferredRow], variant: Variant | None) -> bytes:
    """Return the body of an answer.

    Raises:
        NotApplicable: an output that was asked for by name does not apply to every row.
    """
    named = {output.name for output in asked.outputs}
    ordered = sorted(manifest.outputs, key=lambda output: output.index)
    outputs = [tensor for output in ordered if not named or output.name in named for tensor in _tensor(output, rows, named)]
    if not named or APPLICABLE in named:
        told = [row.values[output.name] is not None for row in rows for output in ordered]
        outputs.append({"name": APPLICABLE, "datatype": "BOOL", "shape": [len(rows), len(ordered)], "data": told})
    body: dict[str, object] = {"model_name": manifest.name, "model_version": manifest.version, "outputs": outputs}
    if asked.id is not None:
        body["id"] = asked.id
    if variant is not None:
        body["parameters"] = {"variant": variant.name}
    return orjson.dumps(body)


def _tensor(output: OutputSpec, rows: Sequence[InferredRow], named: set[str]) -> list[dict[str, object]]:
    values = [row.values[output.name] for row in rows]
    if None not in values:
        return [{"name": output.name, "datatype": DATATYPE, "shape": [len(rows)], "data": values}]
    if output.name in named:
        raise NotApplicable(ErrorCode.OUTPUT_NOT_APPLICABLE, "An output that was asked for does not apply to every row.")
    return []


def _metadata(manifest: ModelManifest) -> dict[str, object]:
    ordered = sorted(manifest.outputs, key=lambda output: output.index)
    outputs: list[dict[str, object]] = [_described(output.name, {"unit": output.unit}) for output in ordered]
    outputs.append(
        {
            "name": APPLICABLE,
            "datatype": "BOOL",
            "shape": [-1, len(ordered)],
            "parameters": {"columns": [output.name for output in ordered]},
        }
    )
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": PLATFORM,
        "inputs": _described_inputs(manifest),
        "outputs": outputs,
        **({"parameters": {"variants": [variant.name for variant in manifest.variants]}} if manifest.variants else {}),
    }


def _described_inputs(manifest: ModelManifest) -> list[dict[str, object]]:
    if manifest.packed_tensor is None:
        return [_described(spec.tensor, {"unit": spec.unit, "optional": spec.optional}) for spec in manifest.inputs]
    columns = [{"name": spec.tensor, "unit": spec.unit} for spec in manifest.inputs]
    shape = [-1, len(columns)]
    datatype = DATATYPES[manifest.element]
    return [{"name": manifest.packed_tensor, "datatype": datatype, "shape": shape, "parameters": {"columns": columns}}]


def _described(name: str, parameters: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "datatype": DATATYPE, "shape": [-1], "parameters": parameters}


def _json(body: Mapping[str, object]) -> Answer:
    return Answer(status=200, body=orjson.dumps(body), media_type=JSON)


def _refusal(error: GatewayError) -> Answer:
    body, media_type = error_answer(error)
    return Answer(status=error.http_status, body=body, media_type=media_type)
