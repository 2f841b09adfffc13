"""The audit entry of one assessment: opened before anything is read, closed before anything is answered, refused when nothing will be.

Where nothing is pulled, ACCESS and RESULT share one commit (rules 9). The encrypted payload holds every element the rules looked at, so
that the answer can be computed again from the record of it.
"""

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec

from gateway.assessment.ports import AuditTrail
from gateway.assessment.request import AssessmentRequest
from gateway.audit.record import EventType, Outcome, RecordDraft
from gateway.errors import GatewayError
from gateway.features.value import InputValue
from gateway.quality.report import QualityReport, Verdict
from gateway.results.answer import AssessmentAnswer, FallbackAnswer, ModelAnswer, Prediction, ReleaseIdentity, Rung

_encode = msgspec.json.Encoder().encode


class _Asked(msgspec.Struct, frozen=True):
    operation: str
    patient: str
    user: str | None
    models: tuple[str, ...]
    as_of: dt.datetime
    setting: str | None
    pulled: bool


class _ModelRecord(msgspec.Struct, frozen=True):
    release: ReleaseIdentity
    verdict: Verdict
    rung: Rung
    rung_reason: str
    report: QualityReport
    predictions: tuple[Prediction, ...]
    fallbacks: tuple[FallbackAnswer, ...]


class _ResultPayload(msgspec.Struct, frozen=True):
    asked: _Asked
    assessment_id: str
    answered_at: dt.datetime
    retrospective: bool
    answers: tuple[_ModelRecord, ...]
    body: msgspec.Raw


class AuditEntry:
    """One assessment's entry in the log."""

    def __init__(self, request: AssessmentRequest, trail: AuditTrail, as_of: dt.datetime, *, wait_s_max: float) -> None:
        self._request = request
        self._trail = trail
        self._wait_s_max = wait_s_max
        self._opened = False
        self._access_rid: str | None = None
        self._result_rid: str | None = None
        self._asked = _Asked(
            operation=request.operation,
            patient=request.patient_id,
            user=request.caller.user,
            models=request.models,
            as_of=as_of,
            setting=request.setting,
            pulled=request.pulls,
        )

    async def open(self) -> None:
        """Make ACCESS durable: nothing may be read before.

        Raises:
            gateway.errors.Unavailable: not durable within the time.
        """
        (receipt,) = await self._trail.append((self._access(),), self._wait_s())
        self._opened = True
        self._access_rid = receipt.rid

    async def close(self, answer: AssessmentAnswer, body: bytes) -> str:
        """Make RESULT durable (with ACCESS, where it was not opened) and return the receipt of the RESULT.

        Raises:
            gateway.errors.Unavailable: not durable within the time; the answer must not leave.
        """
        result = self._result(answer, body)
        drafts = (result,) if self._opened else (self._access(), result)
        receipts = await self._trail.append(drafts, self._wait_s())
        self._result_rid = receipts[-1].rid
        return str(receipts[-1])

    async def not_delivered(self) -> None:
        """Record that the answer of the RESULT is not sent, because whoever asked has left (rules 7).

        Raises:
            gateway.errors.Unavailable: not durable within the time.
        """
        undelivered = RecordDraft(
            type=EventType.NOT_DELIVERED,
            outcome=Outcome.MINOR_FAILURE,
            caller=self._request.caller,
            request_id=self._request.request_id,
            patient_id=self._request.patient_id,
            caused_by=self._result_rid,
        )
        await self._trail.append((undelivered,), self._wait_s_max)

    async def close_shown(self, inputs: Mapping[str, InputValue]) -> str:
        """Make RESULT durable for a record that was read and shown without running a model; return its receipt.

        Raises:
            gateway.errors.Unavailable: not durable within the time.
        """
        result = RecordDraft(
            type=EventType.RESULT,
            caller=self._request.caller,
            request_id=self._request.request_id,
            patient_id=self._request.patient_id,
            caused_by=self._access_rid,
            payload=_encode({"asked": self._asked, "inputs": inputs}),
        )
        receipts = await self._trail.append((result,) if self._opened else (self._access(), result), self._wait_s())
        return str(receipts[-1])

    async def refuse(self, error: GatewayError) -> None:
        """Record that the request ended without an answer, and mark the error as recorded.

        Raises:
            gateway.errors.Unavailable: not durable within the time.
        """
        refused = RecordDraft(
            type=EventType.REFUSED,
            outcome=Outcome.SERIOUS_FAILURE,
            caller=self._request.caller,
            request_id=self._request.request_id,
            patient_id=self._request.patient_id,
            http_status=error.http_status,
            payload=_encode({"asked": self._asked, "code": error.code.value, "detail": error.detail}),
        )
        await self._trail.append((refused,) if self._opened else (self._access(), refused), self._wait_s_max)
        error.recorded = True

    def _wait_s(self) -> float:
        return min(self._wait_s_max, self._request.deadline.remaining_s())

    def _access(self) -> RecordDraft:
        return RecordDraft(
            type=EventType.ACCESS,
            caller=self._request.caller,
            request_id=self._request.request_id,
            patient_id=self._request.patient_id,
            payload=_encode({"asked": self._asked}),
        )

    def _result(self, answer: AssessmentAnswer, body: bytes) -> RecordDraft:
        answers = answer.answers
        payload = _ResultPayload(
            asked=self._asked,
            assessment_id=answer.assessment_id,
            answered_at=answer.answered_at,
            retrospective=answer.retrospective,
            answers=tuple(map(_model_record, answers)),
            body=msgspec.Raw(body),
        )
        return RecordDraft(
            type=EventType.RESULT,
            caller=self._request.caller,
            request_id=self._request.request_id,
            patient_id=self._request.patient_id,
            caused_by=self._access_rid,
            model_id=_joined(f"{found.release.name}@{found.release.version}" for found in answers),
            model_sha256=_joined(found.release.graph_sha256 for found in answers),
            verdict=_joined(found.verdict.value for found in answers),
            rung=_joined(found.rung.value for found in answers),
            fallback=_joined(fallback.score for found in answers for fallback in found.fallbacks) or None,
            http_status=200,
            payload=_encode(payload),
        )


def _joined(texts: Iterable[str]) -> str:
    return ",".join(texts)


def _model_record(found: ModelAnswer) -> _ModelRecord:
    return _ModelRecord(found.release, found.verdict, found.rung, found.rung_reason, found.report, found.predictions, found.fallbacks)
