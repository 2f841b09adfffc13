"""One assessment, from end to end.

Open the audit entry, pull the record, judge it, run the models, render the answer, close the audit entry. No answer leaves this function
before its RESULT is durable; nothing is read before its ACCESS is.
"""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from gateway.assessment.audit_entry import AuditEntry
from gateway.assessment.compute import compute_answers, required_models
from gateway.assessment.ports import AuditTrail, ModelRuntime, RecordSource, ReleasedModel
from gateway.assessment.request import AssessmentRequest
from gateway.clock import Clock
from gateway.errors import BadRequest, ErrorCode, GatewayError, NotAllowed, NotFound, PreconditionFailed, Upstream
from gateway.features.manifest import ModelManifest
from gateway.features.plan import ObservationMode, compile_plan
from gateway.fhir.group import FetchedRecord, Group, GroupState, RecordPart
from gateway.fhir.plan import FetchPlan
from gateway.identity import Permission
from gateway.record import build_record, hide_later
from gateway.record.drop import DropReason
from gateway.record.values import PatientRecord
from gateway.results.answer import AssessmentAnswer, ModelAnswer
from gateway.terminology import Terminology

# An as-of time this close to the clock is "now": callers stamp their requests a moment before they send them.
NOW_TOLERANCE = dt.timedelta(minutes=5)

Render = Callable[[AssessmentAnswer], bytes]


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an assessment needs, joined once in the composition root.

    `releases` are in dependency order. `reading` is the terminology narrowed to what they read: an Observation that no model asks for costs
    next to nothing.
    """

    terminology: Terminology
    reading: Terminology
    releases: Mapping[str, ReleasedModel]
    runtime: ModelRuntime
    audit: AuditTrail
    clock: Clock
    new_id: Callable[[], str]
    audit_wait_s_max: float = 2.0
    source: RecordSource | None = None
    observation_mode: ObservationMode = "code"  # how the source's Observations are searched
    never_asked: frozenset[Group] = frozenset()  # groups that the source does not have
    site: Mapping[str, float | str] = {}  # what the hospital states for its models, by name


class Assessed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer as rendered for the caller, and the receipt of its RESULT record.

    `wanted` is False when the client has left: NOT_DELIVERED is on record, and the answer is not sent.
    """

    answer: AssessmentAnswer
    body: bytes
    receipt: str
    wanted: bool = True


async def assess(request: AssessmentRequest, gateway: Gateway, render: Render) -> Assessed:
    """Assess one patient.

    Raises:
        gateway.errors.GatewayError: the request is not allowed, the Patient could not be had, or the audit record is not durable.
    """
    as_of, retrospective = resolve_as_of(request, gateway.clock.now())
    async with audited(request, gateway, as_of) as entry:
        record, answers = await read_and_compute(request, gateway, entry, as_of)
        answer = AssessmentAnswer(
            assessment_id=gateway.new_id(),
            patient_id=request.patient_id,
            base_url=record.base_url,
            as_of=as_of,
            answered_at=gateway.clock.now(),
            retrospective=retrospective,
            answers=tuple(found for found in answers if not request.models or found.manifest.name in request.models),
            dropped=record.dropped,
            request_id=request.request_id,
        )
        body = render(answer)
        receipt = await entry.close(answer, body)
    wanted = not request.client_left()
    if not wanted:
        await entry.not_delivered()
    return Assessed(answer=answer, body=body, receipt=receipt, wanted=wanted)


async def read_and_compute(
    request: AssessmentRequest, gateway: Gateway, entry: AuditEntry, as_of: dt.datetime
) -> tuple[PatientRecord, tuple[ModelAnswer, ...]]:
    """Fetch or take the record, and answer for the models asked about and those they read; nothing is read before ACCESS is durable.

    Raises:
        gateway.errors.GatewayError: no such model, the Patient could not be had, or ACCESS is not durable.
    """
    releases = select_releases(request, gateway)
    if request.pulls:
        await entry.open()
    fetched = await fetch_record(request, gateway, tuple(release.manifest for release in releases))
    record = hide_later(build_record(fetched, gateway.reading), as_of)
    check_one_patient(request, record)
    answers = await compute_answers(
        record,
        releases,
        gateway.runtime,
        gateway.terminology,
        as_of=as_of,
        deadline=request.deadline,
        setting=request.setting,
        site=gateway.site,
    )
    return record, answers


@contextlib.asynccontextmanager
async def audited(request: AssessmentRequest, gateway: Gateway, as_of: dt.datetime) -> AsyncIterator[AuditEntry]:
    """Give an audit entry; when the work ends in an error, the entry says so before the error goes on."""
    entry = AuditEntry(request, gateway.audit, as_of, wait_s_max=gateway.audit_wait_s_max)
    try:
        yield entry
    except GatewayError as error:
        if error.code is not ErrorCode.AUDIT_UNAVAILABLE:
            await entry.refuse(error)
        raise
    except Exception as fault:  # a bug of ours: an ACCESS without an end would look like a crash of the process, so it is written down
        failed = GatewayError(ErrorCode.INTERNAL, "The gateway failed; nothing was answered.", detail=type(fault).__name__)
        await entry.refuse(failed)
        raise failed from fault


def resolve_as_of(request: AssessmentRequest, now: dt.datetime) -> tuple[dt.datetime, bool]:
    """Return the as-of time and whether it is another time than now, which needs its own permission (rules 5).

    Raises:
        NotAllowed: the caller may not ask about another time.
    """
    if request.as_of is None or abs(request.as_of - now) <= NOW_TOLERANCE:
        return request.as_of or now, False
    if not request.caller.may(Permission.ASSESS_RETROSPECTIVE):
        raise NotAllowed(ErrorCode.RETROSPECTIVE_FORBIDDEN, "This caller may not ask about another time than now.", expression="asOf")
    return request.as_of, True


def select_releases(request: AssessmentRequest, gateway: Gateway) -> tuple[ReleasedModel, ...]:
    """Return the releases to run, those that others read first.

    Raises:
        BadRequest: a model is not released here.
    """
    if not request.models:
        return tuple(gateway.releases.values())
    manifests = {name: release.manifest for name, release in gateway.releases.items()}
    try:
        names = required_models(manifests, request.models)
    except KeyError:
        raise BadRequest(ErrorCode.UNKNOWN_MODEL, "No such model is released here.", expression="model") from None
    return tuple(gateway.releases[name] for name in names)


async def fetch_record(request: AssessmentRequest, gateway: Gateway, manifests: Sequence[ModelManifest]) -> FetchedRecord:
    """Fetch what the caller did not hand over, by the models' own plan, and join it with what it did.

    Raises:
        PreconditionFailed: something is to be fetched, and no FHIR server is configured.
    """
    if not request.pulls:
        if request.given is None:
            raise BadRequest(ErrorCode.INVALID_RECORD, "Nothing was handed over and nothing may be fetched.")
        return request.given
    if gateway.source is None:
        raise PreconditionFailed(ErrorCode.NO_FHIR_SERVER, "No FHIR server is configured to fetch the record from.")
    plan = plan_for(request, gateway, manifests, gateway.observation_mode)
    otherwise = plan_for(request, gateway, manifests, "category")  # for a server that refuses to search by code
    try:
        pulled = await gateway.source.fetch(request.patient_id, plan, request.deadline, request.request_id, fallback=otherwise)
    except (NotFound, NotAllowed, Upstream) as error:
        pulled = without_pull(request, plan, error)
    if request.given is None:
        return pulled
    return msgspec.structs.replace(pulled, parts=(*request.given.parts, *pulled.parts))


def without_pull(request: AssessmentRequest, plan: FetchPlan, error: GatewayError) -> FetchedRecord:
    """Return what a pull that failed leaves behind: where the caller brought the Patient, an assessment that says what is not there.

    Raises:
        GatewayError: the Patient is not there either; as it is, or a failed precondition where the caller was asked to bring it (rules 6).
    """
    if request.given is not None and any(Group.PATIENT in part.groups and part.resources for part in request.given.parts):
        groups = tuple(search.group for search in plan.searches)
        part = RecordPart(groups=groups, state=GroupState.NOT_FETCHED, why=error.code.value)
        return FetchedRecord(patient_id=request.patient_id, parts=(part,))
    if not request.prefetched:
        raise error
    raise PreconditionFailed(
        ErrorCode.PREFETCH_MISSING,
        "Needed data was not prefetched and could not be fetched: patient.",
        detail=error.code.value,
        expression="prefetch.patient",
    ) from error


def check_one_patient(request: AssessmentRequest, record: PatientRecord) -> None:
    """Refuse a prefetch that holds another patient's data: its parts disagree on whom the answer is about (rules 6).

    Raises:
        PreconditionFailed: a resource has another subject.
    """
    if request.prefetched and any(dropped.reason == DropReason.OTHER_PATIENT for dropped in record.dropped):
        raise PreconditionFailed(ErrorCode.PATIENT_MISMATCH, "The prefetch holds data of another patient.", expression="prefetch")


def plan_for(request: AssessmentRequest, gateway: Gateway, manifests: Sequence[ModelManifest], mode: ObservationMode) -> FetchPlan:
    """Return what is still to be fetched: the models' plan, less the groups that the caller handed over."""
    plan = compile_plan(manifests, gateway.terminology, mode).without(gateway.never_asked)
    if request.pull is None:
        return plan
    return FetchPlan(searches=tuple(search for search in plan.searches if search.group in request.pull))
