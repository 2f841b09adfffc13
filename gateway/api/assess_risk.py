"""`$assess-risk`: Parameters in, a Bundle of RiskAssessments out (rules 2)."""

import orjson

from gateway.api.exchange import Answer, Exchange
from gateway.api.parameters import AssessParameters, parse_parameters, parse_patient_id
from gateway.assessment.assess import Assessed, Gateway, assess
from gateway.assessment.request import AssessmentRequest
from gateway.clock import Deadline
from gateway.errors import BadRequest, ErrorCode
from gateway.fhir.group import FetchedRecord
from gateway.identity import Caller
from gateway.record.bundle import read_bundle
from gateway.record.strict_json import check_json
from gateway.results.answer import AssessmentAnswer
from gateway.results.bundle import render_bundle
from gateway.telemetry import count_answer, get_logger

OPERATION = "assess-risk"

_log = get_logger("gateway.api")


class AssessRisk:
    """The operation at both levels: `Patient/{id}/$assess-risk` and `$assess-risk` with a patient reference or an inline record."""

    def __init__(self, gateway: Gateway, *, deadline_s: float) -> None:
        self._gateway = gateway
        self._deadline_s = deadline_s

    async def on_patient(self, exchange: Exchange, caller: Caller) -> Answer:
        """Answer `POST Patient/{id}/$assess-risk`."""
        patient_id = parse_patient_id(exchange.path_parameters["patient_id"])
        return await self._answer(exchange, caller, patient_id)

    async def on_system(self, exchange: Exchange, caller: Caller) -> Answer:
        """Answer `POST $assess-risk`."""
        return await self._answer(exchange, caller, None)

    async def _answer(self, exchange: Exchange, caller: Caller, path_patient: str | None) -> Answer:
        deadline = Deadline(self._gateway.clock, self._deadline_s)
        if exchange.query:
            raise BadRequest(ErrorCode.UNKNOWN_PARAMETER, "The operation takes its parameters from the body, not from the address.")
        body = await exchange.read_json_bytes()
        check_json(body)
        parameters = parse_parameters(body)
        request = self._request(parameters, caller, exchange, deadline, path_patient)
        assessed = await assess(request, self._gateway, render)
        return answer_of(assessed)

    def _request(
        self, parameters: AssessParameters, caller: Caller, exchange: Exchange, deadline: Deadline, path_patient: str | None
    ) -> AssessmentRequest:
        patient_id = _agreeing_patient(parameters, path_patient)
        given = self._inline(parameters, patient_id)
        return AssessmentRequest(
            caller=caller,
            request_id=exchange.request_id,
            operation=OPERATION,
            patient_id=given.patient_id if given else _required(patient_id),
            deadline=deadline,
            models=parameters.models,
            as_of=parameters.as_of,
            setting=parameters.setting,
            given=given,
            pull=frozenset() if given else None,
            client_left=exchange.client_left,
        )

    def _inline(self, parameters: AssessParameters, patient_id: str | None) -> FetchedRecord | None:
        if parameters.record is None:
            return None
        base_url = self._gateway.source.base_url if self._gateway.source else None
        return read_bundle(parameters.record, patient_id=patient_id, declared_complete=parameters.record_complete, base_url=base_url)


def _agreeing_patient(parameters: AssessParameters, path_patient: str | None) -> str | None:
    if path_patient and parameters.patient_id and parameters.patient_id != path_patient:
        raise BadRequest(ErrorCode.PATIENT_MISMATCH, "The patient of the URL and of the parameters differ.", expression="patient")
    return path_patient or parameters.patient_id


def _required(patient_id: str | None) -> str:
    if patient_id is None:
        raise BadRequest(ErrorCode.MALFORMED_PARAMETERS, "Name a patient, or hand over a record.", expression="Parameters")
    return patient_id


def render(answer: AssessmentAnswer) -> bytes:
    """Render the answer as the operation's one out parameter: the Bundle itself is the body."""
    return orjson.dumps(render_bundle(answer))


def answer_of(assessed: Assessed) -> Answer:
    """Wrap an assessed body; every verdict is 200 (rules 6), and is counted with its rung."""
    for found in assessed.answer.answers:
        count_answer(found.manifest.name, found.verdict.value, found.rung.value)
        if found.rung_reason:
            _log.warning("a lower step answered", model=found.manifest.name, rung=found.rung.value, reason=found.rung_reason)
    return Answer(status=200, body=assessed.body, headers={"audit-receipt": assessed.receipt}, wanted=assessed.wanted)
