"""The use case itself, with the world told to fail: what is durable before what, and who answers when the model does not run."""

import asyncio
import datetime as dt
import json
import math
from pathlib import Path

import msgspec
import pytest

from gateway.app import open_gateway
from gateway.assessment.assess import assess
from gateway.assessment.compute import compute_answers, required_models
from gateway.assessment.ports import RunFailed
from gateway.assessment.request import AssessmentRequest
from gateway.audit.record import Receipt
from gateway.clock import Deadline, SystemClock
from gateway.config import AuditSettings, Settings
from gateway.errors import ErrorCode, GatewayError, Unavailable, UpstreamTimeout
from gateway.features.plan import models_read
from gateway.fhir.group import Group, GroupState
from gateway.identity import Caller, Permission, RequestId, TenantId
from gateway.inference.runtime import Runtime, RuntimePlan
from gateway.quality.report import Verdict
from gateway.record import build_record, read_bundle
from gateway.record.reason import ReasonCode
from gateway.registry import load_code_sets
from gateway.results.answer import Rung
from gateway.results.bundle import render_bundle
from gateway.sandbox.fixture import fixtures_dir, load_fixtures
from gateway.served_models import SHIPPED_MODELS, load_models

EVERYTHING = frozenset(Permission)


class Trail:
    """An audit trail in memory that notes what was appended when; `down_at` names the append that fails."""

    def __init__(self, order: list, down_at: int | None = None) -> None:
        self.order = order
        self._down_at = down_at
        self._appends = 0

    async def append(self, drafts, timeout_s):  # noqa: ARG002 - the port's signature
        self._appends += 1
        if self._appends == self._down_at:
            raise Unavailable(ErrorCode.AUDIT_UNAVAILABLE, "The log is down.")
        self.order.append(tuple(draft.type.value for draft in drafts))
        return tuple(Receipt(log_id="l", index=number, leaf_hash=b"h", rid=f"r{number}") for number, _ in enumerate(drafts))


class Source:
    """A FHIR server that gives a record, or fails as told."""

    base_url = "https://ehr.example/fhir"

    def __init__(self, order: list, record, error: GatewayError | None = None) -> None:
        self._order = order
        self._record = record
        self._error = error

    async def fetch(self, patient_id, plan, deadline, request_id, *, fallback=None):  # noqa: ARG002 - the port's signature
        self._order.append("fetch")
        if self._error:
            raise self._error
        return self._record


class Failing:
    """A runtime none of whose rungs gives a believable result for one model."""

    def __init__(self, runtime, model: str) -> None:
        self._runtime = runtime
        self._model = model

    def run(self, model, tensors, variant_index, deadline):
        if model == self._model:
            raise RunFailed("no rung answered")
        return self._runtime.run(model, tensors, variant_index, deadline)


class Disagreeing:
    """A runtime whose graph says that nothing applies although the record is good."""

    def __init__(self, runtime) -> None:
        self._runtime = runtime

    def run(self, model, tensors, variant_index, deadline):
        result = self._runtime.run(model, tensors, variant_index, deadline)
        if model != "prevent":
            return result
        return msgspec.structs.replace(result, applicable=(False,) * len(result.applicable), values=(math.nan,) * len(result.values))


def record_of(patient: str):
    """Return a synthetic patient's whole record."""
    theirs = [one for one in load_fixtures(fixtures_dir(), SystemClock().now()) if one["id"].startswith(patient)]
    body = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in theirs]}).encode()
    return read_bundle(body, patient_id=patient, declared_complete=True)


def run(tmp_path, *, permissions=EVERYTHING, clock=None, order=None, down_at=None, runtime=None, source=None, **request):
    """Run one assessment against the real models; return the Assessed, or the GatewayError."""
    settings = Settings(audit=AuditSettings(database=str(tmp_path / "audit.db"), key_file=str(tmp_path / "kek.json")))
    caller = Caller(client_id="c", tenant=TenantId("t"), permissions=permissions)

    async def work():
        async with open_gateway(settings, clock) as running:
            gateway = msgspec.structs.replace(
                running.gateway,
                audit=Trail([] if order is None else order, down_at),
                source=source,
                runtime=runtime(running.gateway.runtime) if runtime else running.gateway.runtime,
            )
            asked = AssessmentRequest(
                caller=caller,
                request_id=RequestId("r"),
                operation="o",
                deadline=Deadline(gateway.clock, 5.0),
                **{"patient_id": "demo-complete", **request},
            )
            try:
                return await assess(asked, gateway, lambda answer: json.dumps(render_bundle(answer)).encode())
            except GatewayError as error:
                return error

    return asyncio.run(work())


def answers_of(assessed) -> dict:
    return {found.manifest.name: found for found in assessed.answer.answers}


def given(patient: str = "demo-complete") -> dict:
    return {"given": record_of(patient), "pull": frozenset(), "patient_id": patient}


# --- what is durable before what --------------------------------------------------------------------------------------------------


def test_access_is_durable_before_the_first_read_and_result_before_the_answer(tmp_path):
    """A pull: ACCESS, then the fetch, then RESULT."""
    order: list = []
    assessed = run(tmp_path, order=order, source=Source(order, record_of("demo-complete")))
    assert order == [("ACCESS",), "fetch", ("RESULT",)]
    assert assessed.receipt.startswith("l/")


def test_nothing_is_read_when_access_is_not_durable(tmp_path):
    """The first append fails: no fetch, and nothing else is tried on a log that is down."""
    order: list = []
    error = run(tmp_path, order=order, down_at=1, source=Source(order, record_of("demo-complete")))
    assert (error.code, order) == (ErrorCode.AUDIT_UNAVAILABLE, [])


def test_no_answer_leaves_when_result_is_not_durable(tmp_path):
    """The second append fails: the caller gets the refusal, never the answer."""
    order: list = []
    error = run(tmp_path, order=order, down_at=2, source=Source(order, record_of("demo-complete")))
    assert (error.code, order) == (ErrorCode.AUDIT_UNAVAILABLE, [("ACCESS",), "fetch"])


def test_an_inline_record_shares_one_commit(tmp_path):
    """Nothing is pulled: ACCESS and RESULT in one append."""
    order: list = []
    run(tmp_path, order=order, **given())
    assert order == [("ACCESS", "RESULT")]


def test_an_answer_whose_client_has_left_is_not_wanted(tmp_path):
    """RESULT is followed by NOT_DELIVERED."""
    order: list = []
    assessed = run(tmp_path, order=order, client_left=lambda: True, **given())
    assert not assessed.wanted
    assert order == [("ACCESS", "RESULT"), ("NOT_DELIVERED",)]


# --- the ladder -------------------------------------------------------------------------------------------------------------------


def test_a_runtime_that_fails_opens_the_fallback(tmp_path):
    """A good record, no believable run: the published score answers under its own name, and the reason is told."""
    found = answers_of(run(tmp_path, runtime=lambda real: Failing(real, "prevent"), **given()))["prevent"]
    assert (found.verdict, found.rung, found.rung_reason) == (Verdict.FALLBACK, Rung.FALLBACK_SCORE, "no rung answered")
    assert found.predictions == ()
    assert found.fallbacks
    assert found.report.reasons[0].code is ReasonCode.RUNTIME_FAILURE


def test_a_runtime_that_fails_gives_no_measurement(tmp_path):
    """A model without a usable fallback: no number, RUNTIME_FAILURE, and never a number from nowhere."""
    found = answers_of(run(tmp_path, runtime=lambda real: Failing(real, "ckdepi2021"), **given()))["ckdepi2021"]
    assert (found.verdict, found.rung, found.predictions) == (Verdict.INDETERMINATE, Rung.NONE, ())


def test_a_graph_that_disagrees_with_the_report_is_not_believed(tmp_path):
    """The graph marks as inapplicable what the quality report found valid: its numbers are withheld."""
    found = answers_of(run(tmp_path, runtime=Disagreeing, **given()))["prevent"]
    assert found.predictions == ()
    assert found.verdict is Verdict.FALLBACK
    assert "disagree" in found.rung_reason


# --- who may ask what -------------------------------------------------------------------------------------------------------------


def test_the_past_needs_its_own_permission(tmp_path):
    """Another time than now without `assess.retrospective`: refused; with it, the answer says that it looks back."""
    past = SystemClock().now() - dt.timedelta(days=30)
    error = run(tmp_path, permissions=EVERYTHING - {Permission.ASSESS_RETROSPECTIVE}, as_of=past, **given())
    assert error.code is ErrorCode.RETROSPECTIVE_FORBIDDEN
    assert run(tmp_path, as_of=past, **given()).answer.retrospective


def test_a_moment_ago_is_now(tmp_path):
    """Callers stamp their requests a moment before they send them."""
    just = SystemClock().now() - dt.timedelta(minutes=1)
    assert not run(tmp_path, permissions=frozenset({Permission.ASSESS}), as_of=just, **given()).answer.retrospective


def test_a_named_model_answers_alone(tmp_path):
    """What it reads from other models is computed, but not answered."""
    assert set(answers_of(run(tmp_path, models=("prevent",), **given()))) == {"prevent"}


def test_upstream_models_come_first():
    """PREVENT reads the eGFR of CKD-EPI: it is run before, whatever the order of the question."""
    releases = load_manifests()
    names = required_models(releases, ["prevent", "ckdepi2021"])
    assert names.index("ckdepi2021") < names.index("prevent")
    with pytest.raises(KeyError):
        required_models(releases, ["nosuch"])


def test_what_only_a_fallback_reads_is_run_too():
    """An eGFR that PREVENT's fallback alone would read: CKD-EPI is still among the models to run, and before it."""
    manifests = load_manifests()
    prevent = manifests["prevent"]
    read = [spec for spec in prevent.inputs if models_read(msgspec.structs.replace(prevent, inputs=(spec,), fallbacks=()))]
    assert len(read) == 1
    own = tuple(spec for spec in prevent.inputs if spec not in read)
    fallback = msgspec.structs.replace(prevent.fallbacks[0], features=tuple(read))
    manifests["prevent"] = msgspec.structs.replace(prevent, inputs=own, fallbacks=(fallback,))
    assert required_models(manifests, ["prevent"]) == ("ckdepi2021", "prevent")


def load_manifests() -> dict:
    models = load_models(Settings(), load_code_sets(SHIPPED_MODELS), Runtime(RuntimePlan(), Path()))
    return {name: model.manifest for name, model in models.items()}


# --- a pull that fails while the caller brought the Patient -----------------------------------------------------------------------

LATE = UpstreamTimeout(ErrorCode.PATIENT_TIMEOUT, "Late.")


def part_of(patient: str, *kinds: str):
    """Return the record with only the Patient and what else is named."""
    whole = record_of(patient)
    kept = tuple(raw for raw in whole.parts[0].resources if json.loads(raw)["resourceType"] in {"Patient", *kinds})
    part = msgspec.structs.replace(whole.parts[0], resources=kept, groups=(Group.PATIENT,), full_urls=(), state=GroupState.COMPLETE)
    return msgspec.structs.replace(whole, parts=(part,))


def test_a_failed_top_up_is_an_answer_that_says_so(tmp_path):
    """The Patient is there, the rest is not: no estimate, every input "could not be fetched", nothing concluded."""
    order: list = []
    assessed = run(
        tmp_path,
        order=order,
        given=part_of("demo-complete"),
        pull=frozenset(Group) - {Group.PATIENT},
        source=Source(order, None, LATE),
    )
    found = answers_of(assessed)["prevent"]
    assert (found.verdict, found.predictions, found.fallbacks) == (Verdict.INDETERMINATE, (), ())
    assert {reason.code for reason in found.report.reasons} == {ReasonCode.NOT_FETCHED}


@pytest.mark.parametrize(("prefetched", "status"), [(False, 504), (True, 412)])
def test_a_patient_nobody_brought_fails_the_request(tmp_path, prefetched, status):
    """Through REST as the server's failure, through CDS Hooks as a failed precondition; the ACCESS has its REFUSED."""
    order: list = []
    error = run(tmp_path, order=order, prefetched=prefetched, source=Source(order, None, LATE))
    assert error.http_status == status
    assert order == [("ACCESS",), "fetch", ("REFUSED",)]


def test_graphs_in_this_process_cost_no_switch_of_tasks(tmp_path):
    """Every shipped model is answered within the first step of the coroutine: nothing hands control back to the event loop."""
    settings = Settings(audit=AuditSettings(database=str(tmp_path / "audit.db"), key_file=str(tmp_path / "kek.json")))

    async def work():
        async with open_gateway(settings) as running:
            gateway, now = running.gateway, SystemClock().now()
            record = build_record(record_of("demo-complete"), gateway.reading)
            releases = tuple(gateway.releases.values())
            deadline = Deadline(gateway.clock, 5.0)
            answering = compute_answers(record, releases, gateway.runtime, gateway.terminology, as_of=now, deadline=deadline)
            with pytest.raises(StopIteration) as finished:
                answering.send(None)
            return [answer.rung for answer in finished.value.value]

    assert Rung.CPU in asyncio.run(work())
