"""One bare inference (Open Inference Protocol): rows of numbers without a patient. Judged by the model's ranges, audited before it leaves.

No record is read, so there is no ACCESS: RESULT alone is the entry, with the caller's purpose. A row is a mapping from tensor to number;
an optional input that is not there chooses the variant, as in an assessment, unless the caller names one.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from gateway.assessment.assess import Gateway
from gateway.assessment.ladder import run_graph
from gateway.assessment.ports import ReleasedModel, RunFailed, RunResult
from gateway.audit.record import EventType, Outcome, RecordDraft
from gateway.clock import Deadline
from gateway.errors import ErrorCode, Unavailable
from gateway.features.manifest import InputSpec, ModelManifest, OutputSpec, ReleaseIdentity, Variant
from gateway.identity import Caller, RequestId
from gateway.quality.judge import variant_for

Row = Mapping[str, float]
_encode = msgspec.json.Encoder().encode


class InferenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked: every row has the same tensors. `asked` is the request as it came, for the record.

    `variant`: the one that was named, else the one that the optional inputs choose (`variant_of`); None for a model without.
    """

    caller: Caller
    request_id: RequestId
    deadline: Deadline
    release: ReleasedModel
    rows: tuple[Row, ...]
    variant: Variant | None
    asked: bytes
    client_left: Callable[[], bool]


class InferredRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row's numbers by name of output; one that does not apply is None."""

    values: Mapping[str, float | None]
    rung: str
    runtime: str


class Inferred(msgspec.Struct, frozen=True, kw_only=True):
    """The body as rendered and the receipt of its RESULT; not `wanted`: the client has left, and NOT_DELIVERED is on record."""

    body: bytes
    receipt: str
    wanted: bool


class _Payload(msgspec.Struct, frozen=True):
    operation: str
    user: str | None
    release: ReleaseIdentity
    runtime: tuple[str, ...]
    asked: msgspec.Raw
    body: msgspec.Raw


async def infer(request: InferenceRequest, gateway: Gateway, render: Callable[[Sequence[InferredRow]], bytes]) -> Inferred:
    """Run every row and make the RESULT durable.

    Raises:
        gateway.errors.GatewayError: no believable result, from `render`, or the record is not durable in time.
    """
    rows = await _run_all(request, gateway)
    body = render(rows)
    wait_s = min(gateway.audit_wait_s_max, request.deadline.remaining_s())
    (receipt,) = await gateway.audit.append((_result(request, rows, body),), wait_s)
    wanted = not request.client_left()
    if not wanted:
        await gateway.audit.append((_not_delivered(request, receipt.rid),), gateway.audit_wait_s_max)
    return Inferred(body=body, receipt=str(receipt), wanted=wanted)


def variant_of(manifest: ModelManifest, given: AbstractSet[str]) -> Variant | None:
    """Return the variant for the optional inputs that are given, by tensor; the rule is that of an assessment."""
    return variant_for(manifest, {spec.name for spec in manifest.inputs if spec.optional and spec.tensor in given})


def inapplicable_outputs(manifest: ModelManifest, row: Row) -> frozenset[str]:
    """Return the outputs for which a number of the row lies outside what the model was made for, or contradicts another one."""
    by_name = {spec.name: row[spec.tensor] for spec in manifest.inputs if spec.tensor in row}
    doubtful = {
        name
        for pair in manifest.consistency
        if pair.left in by_name and pair.right in by_name and by_name[pair.left] >= by_name[pair.right]
        for name in (pair.left, pair.right)
    }
    touched: set[str] = set()
    for spec in manifest.inputs:
        if spec.name in doubtful or (spec.name in by_name and spec.model_range and not spec.model_range.holds(by_name[spec.name])):
            touched.update(_outputs_of(manifest, spec, whole=spec.name in doubtful))
    return frozenset(touched)


def _outputs_of(manifest: ModelManifest, spec: InputSpec, *, whole: bool) -> Iterator[str]:
    """Yield the outputs that a bad input takes away: those its range binds, those that need it, all for an optional one."""
    only_for = spec.model_range.only_for if spec.model_range is not None and not whole else ()
    for output in manifest.outputs:
        if output.name in only_for or (not only_for and (spec.optional or spec.name in output.needs)):
            yield output.name


async def _run_all(request: InferenceRequest, gateway: Gateway) -> tuple[InferredRow, ...]:
    """Run the rows at once, so that those of a worker's model run together; a single one without a task of its own."""
    if len(request.rows) == 1:
        return (await _run(request, gateway, request.rows[0]),)
    return tuple(await asyncio.gather(*[_run(request, gateway, row) for row in request.rows]))


async def _run(request: InferenceRequest, gateway: Gateway, row: Row) -> InferredRow:
    if request.deadline.remaining_s() <= 0:
        raise Unavailable(ErrorCode.MODEL_UNAVAILABLE, "The rows could not be run in time.")
    manifest = request.release.manifest
    tensors = {spec.tensor: row.get(spec.tensor, float("nan")) for spec in manifest.inputs}
    try:
        result = await run_graph(
            gateway.runtime, manifest.name, tensors, request.variant.index if request.variant else None, request.deadline
        )
    except RunFailed as failure:
        raise Unavailable(ErrorCode.MODEL_UNAVAILABLE, "The model gave no believable result.", detail=failure.reason) from failure
    outside = inapplicable_outputs(manifest, row)
    values = {output.name: _value(output, result, outside) for output in manifest.outputs}
    return InferredRow(values=values, rung=result.rung.value, runtime=result.runtime)


def _value(output: OutputSpec, result: RunResult, outside: frozenset[str]) -> float | None:
    return result.values[output.index] if result.applicable[output.index] and output.name not in outside else None


def _result(request: InferenceRequest, rows: Sequence[InferredRow], body: bytes) -> RecordDraft:
    identity = request.release.identity
    runtimes = tuple(sorted({row.runtime for row in rows}))
    payload = _Payload("infer", request.caller.user, identity, runtimes, msgspec.Raw(request.asked), msgspec.Raw(body))
    return RecordDraft(
        type=EventType.RESULT,
        caller=request.caller,
        request_id=request.request_id,
        model_id=f"{identity.name}@{identity.version}",
        model_sha256=identity.graph_sha256,
        rung=",".join(sorted({row.rung for row in rows})),
        http_status=200,
        count=len(rows),
        payload=_encode(payload),
    )


def _not_delivered(request: InferenceRequest, rid: str) -> RecordDraft:
    return RecordDraft(
        type=EventType.NOT_DELIVERED,
        outcome=Outcome.MINOR_FAILURE,
        caller=request.caller,
        request_id=request.request_id,
        caused_by=rid,
    )
