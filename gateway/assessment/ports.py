"""What the use case needs from the world. Adapters meet these only in the composition root; fakes pass the same contract suites."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.audit.record import Receipt, RecordDraft
from gateway.clock import Deadline
from gateway.features.manifest import ModelManifest
from gateway.fhir.group import FetchedRecord
from gateway.fhir.plan import FetchPlan
from gateway.results.answer import ReleaseIdentity, Rung


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a graph gave, by column of the manifest's outputs: float64 values and whether each applies (an inapplicable one is NaN)."""

    values: tuple[float, ...]
    applicable: tuple[bool, ...]
    rung: Rung
    runtime: str
    stepped_down: str = ""  # why a higher rung did not answer; ours, no PHI


class RunFailed(Exception):
    """No rung of the runtime gave a believable result; `reason` is ours and holds no PHI."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ReleasedModel(Protocol):
    """A release that may be used."""

    @property
    def manifest(self) -> ModelManifest:
        """Return the model as data."""
        ...

    @property
    def identity(self) -> ReleaseIdentity:
        """Return exactly which bytes these are."""
        ...


class ModelRuntime(Protocol):
    """Runs a released graph: in this process, in a worker's, or on another machine.

    A graph in this process answers at once with a `RunResult`: nothing is awaited, so that a run of 20 us costs no switch of tasks. Every
    other one gives an awaitable of it. Whoever calls awaits what is not a `RunResult`.
    """

    def run(
        self, model: str, tensors: Mapping[str, float], variant_index: int | None, deadline: Deadline
    ) -> RunResult | Awaitable[RunResult]:
        """Run one row. `tensors`: by name of the manifest's tensors, NaN where absent. After `deadline` nobody waits for the answer.

        Raises:
            RunFailed: no rung gave a believable result within the deadline; from the call or from the awaitable. Nothing else is raised.
        """
        ...


class RecordSource(Protocol):
    """A tenant's FHIR server."""

    @property
    def base_url(self) -> str:
        """Return the FHIR base against which references are absolute."""
        ...

    async def fetch(
        self, patient_id: str, plan: FetchPlan, deadline: Deadline, request_id: str, *, fallback: FetchPlan | None = None
    ) -> FetchedRecord:
        """Fetch the Patient and every search of the plan; a search that fails makes its group say so.

        `fallback`: for groups whose search is refused as such, the search to try instead.

        Raises:
            gateway.errors.GatewayError: the Patient itself could not be had.
        """
        ...


class AuditTrail(Protocol):
    """An append-only, durable log. When `append` returns, the records are on stable storage, all of them or none."""

    async def append(self, drafts: Sequence[RecordDraft], timeout_s: float) -> tuple[Receipt, ...]:
        """Append the drafts in one commit and return one receipt for each.

        Raises:
            gateway.errors.Unavailable: not durable within the time; the answer must not leave.
        """
        ...
