"""One model on one record, input by input: for `gateway record show --model NAME`."""

import datetime as dt
from collections.abc import Mapping

import msgspec

from gateway.assessment.assess import Gateway, audited, read_and_compute, resolve_as_of
from gateway.assessment.request import AssessmentRequest
from gateway.features.value import InputValue
from gateway.record.values import Dropped
from gateway.results.answer import ModelAnswer
from gateway.results.explain import explain_input, features_by_name


class ModelOverview(msgspec.Struct, frozen=True, kw_only=True):
    """What one model found in a record. `sentences` are by input, in the order of `inputs`."""

    patient_id: str
    as_of: dt.datetime
    answer: ModelAnswer
    inputs: Mapping[str, InputValue]
    sentences: Mapping[str, tuple[str, ...]]
    dropped: tuple[Dropped, ...]


async def explain_model(request: AssessmentRequest, gateway: Gateway) -> ModelOverview:
    """Assess as always for the request's one model, and return what became of each of its inputs; audited like any assessment.

    Raises:
        gateway.errors.GatewayError: no such model, the Patient could not be had, or the audit record is not durable.
    """
    (name,) = request.models
    as_of, _ = resolve_as_of(request, gateway.clock.now())
    async with audited(request, gateway, as_of) as entry:
        record, answers = await read_and_compute(request, gateway, entry, as_of)
        answer = next(found for found in answers if found.manifest.name == name)
        features = features_by_name(answer.manifest)
        inputs = {found: answer.report.inputs[found] for found in features}
        await entry.close_shown(inputs)
    return ModelOverview(
        patient_id=request.patient_id,
        as_of=as_of,
        answer=answer,
        inputs=inputs,
        sentences={found: explain_input(answer, found, feature) for found, feature in features.items()},
        dropped=record.dropped,
    )
