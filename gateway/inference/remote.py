"""A model that another server runs (Open Inference Protocol v2), behind the same port and under the same checks as a graph of ours.

    closed -> every vector of the release, row by row -> open -> three failures running, or a vector that fails later on -> closed

Rows leave this gateway as bare numbers, without anything that names the patient. What comes back is believed only if it has the shape, the
names and the range that were promised (kserve/open-inference-protocol, inference_rest.md).
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import httpx
import msgspec

from gateway.fhir.transport import AiohttpTransport
from gateway.inference.engine import RunRow
from gateway.inference.result import Device, EngineResult, InferenceFailed, Numbers, Signature, believed, checked_inputs
from gateway.telemetry import count_link_closed, get_logger

FAILURES_MAX = 3
FAIR_S = 0.25
RETRY_S, RETRY_S_MAX = 0.5, 30.0
PROBE_S = 300.0  # between self-tests of a server that seems well
ROW_S_MAX = 10.0  # of one row of the self-test
BODY_BYTES_MAX, INFLATE_RATIO_MAX, CONNECTIONS_MAX = 1_000_000, 20, 16
NOT_TRIED = "the other server has not been asked yet"
_RANK = 2  # rows and columns
_DATATYPES = {"float64": "FP64", "float32": "FP32"}

_log = get_logger("gateway.inference")


class RemoteModel(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is run: the base of the server (`/v2` comes behind it), the model's name there, and its version ("" = any)."""

    base_url: str
    model: str
    version: str = ""


class _Tensor(msgspec.Struct):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float | list[float]]


class _Inferred(msgspec.Struct):
    model_name: str
    outputs: list[_Tensor]
    model_version: str | None = None
    id: str | None = None


_decode = msgspec.json.Decoder(_Inferred).decode


class RemoteClient:
    """Asks one server about one model. Belongs to the event loop in which it is entered."""

    def __init__(self, target: RemoteModel, signature: Signature) -> None:
        self._target = target
        self._signature = signature
        version = f"/versions/{target.version}" if target.version else ""
        self._url = f"{target.base_url.rstrip('/')}/v2/models/{target.model}{version}/infer"
        transport = AiohttpTransport(body_bytes_max=BODY_BYTES_MAX, inflate_ratio_max=INFLATE_RATIO_MAX, connections_max=CONNECTIONS_MAX)
        self._http = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
        self._asked = 0
        self.version: str | None = None  # the one that answered first, and so passed the self-test: no other is believed

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, values: list[float], timeout_s: float) -> EngineResult:
        """Run one row in the order of the signature.

        Raises:
            InferenceFailed: no answer in time, or one that cannot be believed.
        """
        if not self._signature.may_run(values):
            return self._signature.not_run(Device.REMOTE, "remote, not asked")
        self._asked += 1
        asked = str(self._asked)
        body = msgspec.json.encode({"id": asked, "inputs": self._inputs(values), "outputs": [{"name": self._signature.result}]})
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._http.post(self._url, content=body, headers={"content-type": "application/json"}, timeout=timeout_s)
        except TimeoutError:
            raise InferenceFailed("the other server did not answer in time") from None
        except Exception as error:  # noqa: BLE001 - httpx has several families of errors, and each means that there is no number
            raise InferenceFailed(f"the other server cannot be reached ({type(error).__name__})") from None
        if answer.status_code != httpx.codes.OK:
            raise InferenceFailed(f"the other server answered with status {answer.status_code}")
        return self._read(answer.content, asked)

    def _inputs(self, values: list[float]) -> list[dict[str, object]]:
        signature = self._signature
        datatype = _DATATYPES[signature.element]
        if signature.packed is not None:
            return [{"name": signature.packed, "shape": [1, len(values)], "datatype": datatype, "data": values}]
        return [
            {"name": name, "shape": [1], "datatype": datatype, "data": [value]}
            for name, value in zip(signature.inputs, values, strict=True)
        ]

    def _read(self, content: bytes, asked: str) -> EngineResult:
        try:
            found = _decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InferenceFailed("the other server said what cannot be understood") from None
        named = {tensor.name: tensor for tensor in found.outputs}
        expected = self._target.version or self.version or found.model_version
        if found.model_name != self._target.model or found.model_version != expected or found.id not in (None, asked):
            raise InferenceFailed("the other server answered for another model, version or request")
        tensor = named.get(self._signature.result)
        if tensor is None or tensor.datatype not in _DATATYPES.values():
            raise InferenceFailed("the other server did not give the output that was asked for")
        self.version = found.model_version
        runtime = f"remote {found.model_name} {found.model_version or 'without version'}"
        return believed(self._signature, _numbers_of(self._signature, tensor), Device.REMOTE, runtime)


def _numbers_of(signature: Signature, tensor: _Tensor) -> Numbers:
    """Return the one row of a tensor, flat or nested; columns that nobody reads are NaN.

    Raises:
        InferenceFailed: it has another shape than one row with at least the columns that are read.
    """
    row = [value for part in tensor.data for value in (part if isinstance(part, list) else [part])]
    columns = tensor.shape[1] if len(tensor.shape) > 1 else 1
    if tensor.shape[:1] != (1,) or len(tensor.shape) > _RANK or len(row) != columns or columns < signature.columns:
        raise InferenceFailed("the other server gave another shape than it promised")
    read = [valid is not None for valid in signature.ranges]
    return [value if wanted else float("nan") for value, wanted in zip(row, read, strict=False)], read


class RemoteLink:
    """The way to a model that another server runs: open only while every vector of the release passes there."""

    def __init__(self, target: RemoteModel, signature: Signature, self_test: Callable[[RunRow], None]) -> None:
        """`self_test`: runs every vector and raises when one fails."""
        self._client: RemoteClient | None = None
        self.signature = signature
        self._target = target
        self._self_test = self_test
        self._closed = NOT_TRIED
        self._failures = 0
        self._tried = asyncio.Event()
        self._lost = asyncio.Event()
        self._stopping = threading.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def closed(self) -> str:
        """Say why the model cannot be asked now; empty: it can."""
        return self._closed

    async def start(self) -> None:
        """Test the server for the first time, and return when it is known whether it may be asked."""
        self._client = RemoteClient(self._target, self.signature)
        self._keeping = asyncio.create_task(self._keep(self._client))
        await self._tried.wait()

    async def aclose(self) -> None:
        """Ask no more."""
        self._stopping.set()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def run(self, values: list[float], timeout_s: float) -> EngineResult:
        """Run one row.

        Raises:
            InferenceFailed: the link is closed, there was no answer in time, or it cannot be believed.
        """
        if self._closed or self._client is None:
            raise InferenceFailed(self._closed or NOT_TRIED)
        try:
            result = await self._client.run(values, timeout_s)
        except InferenceFailed as failure:
            self._failures += timeout_s >= FAIR_S  # a request that came with little time left says nothing about the server
            if self._failures >= FAILURES_MAX:
                self._close(failure.reason)
            raise
        self._failures = 0
        return result

    async def _keep(self, client: RemoteClient) -> None:
        """Test; then wait, until it is time to test again or the link is lost."""
        pause_s = RETRY_S
        while True:
            if self._closed:
                client.version = None  # another version may pass now
            reason = await asyncio.to_thread(self._test, client, asyncio.get_running_loop())
            if reason:
                self._close(reason)
                _log.warning("a remote model is not asked", reason=reason, model=self._target.model)
            self._closed, self._failures = reason, 0
            self._tried.set()
            self._lost.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), pause_s if reason else PROBE_S)
            pause_s = min(2 * pause_s, RETRY_S_MAX) if reason else RETRY_S

    def _close(self, reason: str) -> None:
        self._closed = reason
        self._lost.set()
        count_link_closed(Device.REMOTE.value)

    def _test(self, client: RemoteClient, loop: asyncio.AbstractEventLoop) -> str:
        """Run the vectors from a thread; return why the server may not be asked."""

        def run(tensors: Mapping[str, float], variant_index: int | None) -> EngineResult:
            if self._stopping.is_set():
                raise InferenceFailed("the gateway is stopping")
            values = checked_inputs(self.signature, tensors, variant_index)
            return asyncio.run_coroutine_threadsafe(client.run(values, ROW_S_MAX), loop).result(2 * ROW_S_MAX)

        try:
            self._self_test(run)
        except Exception as error:  # noqa: BLE001 - a vector that fails, a server that is away, or a bug of either: it is not asked
            return f"the self-test failed: {error}"[:200]
        return ""


def remote_runner(target: RemoteModel, signature: Signature) -> RunRow:
    """Return what asks a server about one row at a time and waits: for the command line."""

    def run(tensors: Mapping[str, float], variant_index: int | None) -> EngineResult:
        values = checked_inputs(signature, tensors, variant_index)

        async def ask() -> EngineResult:
            async with RemoteClient(target, signature) as client:
                return await client.run(values, ROW_S_MAX)

        with contextlib.closing(asyncio.new_event_loop()) as loop:
            return loop.run_until_complete(ask())

    return run
