"""What a caller asks for, after an edge has translated it and before anything is fetched."""

import datetime as dt
from collections.abc import Callable

import msgspec

from gateway.clock import Deadline
from gateway.features.manifest import Setting
from gateway.fhir.group import FetchedRecord, Group
from gateway.identity import Caller, RequestId


def _waits() -> bool:
    return False


class AssessmentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request for one patient.

    `given`: what the caller handed over (an inline record, a prefetch). `pull`: the groups still to be fetched from the tenant's server;
    None = the whole plan of the models, empty = nothing is pulled. `models`: names, empty = every released model. `as_of`: None = now.
    `client_left`: tells, without waiting, whether whoever asked has hung up. `prefetched`: the caller was asked to bring the
    record along (CDS Hooks), so that a Patient who cannot be had, or a resource of another patient, is a failed precondition (rules 6).
    """

    caller: Caller
    request_id: RequestId
    operation: str
    patient_id: str
    deadline: Deadline
    models: tuple[str, ...] = ()
    as_of: dt.datetime | None = None
    setting: Setting | None = None
    given: FetchedRecord | None = None
    pull: frozenset[Group] | None = None
    client_left: Callable[[], bool] = _waits
    prefetched: bool = False

    def __post_init__(self) -> None:
        if self.as_of is not None and self.as_of.tzinfo is None:
            raise ValueError("an as-of time needs a time zone")

    @property
    def pulls(self) -> bool:
        """Tell whether the FHIR server will be read."""
        return self.pull is None or bool(self.pull)
