"""CDS Hooks: discovery and the patient-view service, through the same use case as every other edge."""

from collections.abc import Callable, Mapping

import msgspec
import orjson

from gateway.api.assess_risk import answer_of
from gateway.api.cds_request import OPTIONAL_KEYS, PREFETCH_GROUPS, CdsRequest, Prefetched, parse_cds_request, patient_id_of, read_prefetch
from gateway.api.exchange import JSON, Answer, Exchange
from gateway.assessment.assess import Gateway, assess
from gateway.assessment.request import AssessmentRequest
from gateway.clock import Deadline
from gateway.errors import BadRequest, ErrorCode, NotFound, PreconditionFailed
from gateway.fhir.group import Group
from gateway.fhir.plan import FetchPlan, Search
from gateway.identity import Caller
from gateway.record.strict_json import check_json
from gateway.results.answer import AssessmentAnswer


class CdsService(msgspec.Struct, frozen=True, kw_only=True):
    """One service as discovery shows it (cds-hooks 2.2)."""

    id: str
    hook: str
    title: str
    description: str
    prefetch: Mapping[str, str]


def prefetch_templates(plan: FetchPlan) -> dict[str, str]:
    """Return one FHIR query per prefetch key, from the same plan that a pull follows: prefetched and pulled data are the same."""
    templates = {"patient": "Patient/{{context.patientId}}"}
    for key, groups in PREFETCH_GROUPS.items():
        searches = [search for search in plan.searches if search.group in groups]
        if searches:
            templates[key] = f"{searches[0].resource_type}?patient={{{{context.patientId}}}}" + _merged_parameters(searches)
    return templates


def _merged_parameters(searches: list[Search]) -> str:
    merged: dict[str, list[str]] = {}
    for search in searches:
        for name, value in search.parameters:
            merged.setdefault(name, []).append(value)
    return "".join(f"&{name}={','.join(dict.fromkeys(values))}" for name, values in merged.items())


class CdsHooks:
    """The CDS Hooks edge."""

    def __init__(
        self, gateway: Gateway, services: Mapping[str, CdsService], render: Callable[[AssessmentAnswer], bytes], *, deadline_s: float
    ) -> None:
        self._gateway = gateway
        self._services = services
        self._render = render
        self._deadline_s = deadline_s
        self._discovery = orjson.dumps({"services": [msgspec.to_builtins(service) for service in services.values()]})

    def discover(self) -> Answer:
        """Answer `GET /cds-services`: what the services are, nothing about any patient."""
        return Answer(status=200, body=self._discovery, media_type=JSON)

    async def invoke(self, exchange: Exchange, caller: Caller) -> Answer:
        """Answer `POST /cds-services/{id}` by the table of rules 6."""
        deadline = Deadline(self._gateway.clock, self._deadline_s)
        service = self._services.get(exchange.path_parameters["service_id"])
        if service is None:
            raise NotFound(ErrorCode.UNKNOWN_CDS_SERVICE, "There is no such CDS service.")
        body = await exchange.read_json_bytes()
        check_json(body)
        request = parse_cds_request(body)
        if request.hook != service.hook:
            raise BadRequest(ErrorCode.HOOK_MISMATCH, "The service does not answer this hook.", expression="hook")
        assessed = await assess(self._as_assessment(request, caller, exchange, deadline), self._gateway, self._render)
        return msgspec.structs.replace(answer_of(assessed), media_type=JSON)

    def _as_assessment(self, request: CdsRequest, caller: Caller, exchange: Exchange, deadline: Deadline) -> AssessmentRequest:
        patient_id = patient_id_of(request)
        source = self._gateway.source
        prefetched = read_prefetch(request, patient_id, source.base_url if source else None)
        return AssessmentRequest(
            caller=msgspec.structs.replace(caller, user=request.context.user_id or caller.user),
            request_id=exchange.request_id,
            operation=f"cds:{request.hook}",
            patient_id=patient_id,
            deadline=deadline,
            given=prefetched.record,
            pull=self._to_pull(request, prefetched),
            client_left=exchange.client_left,
            prefetched=True,
        )

    def _to_pull(self, request: CdsRequest, prefetched: Prefetched) -> frozenset[Group]:
        """Return the groups to top up: those of absent keys, where the named server is ours (a URL is a selector, never a target).

        An optional key alone is not worth a pull; where something else is pulled, it comes along.

        Raises:
            PreconditionFailed: a required key is absent and there is no usable server to read it from.
        """
        required = [key for key in prefetched.missing_keys if key not in OPTIONAL_KEYS]
        source = self._gateway.source
        reachable = (
            source is not None and request.fhir_server is not None and request.fhir_server.rstrip("/") == source.base_url.rstrip("/")
        )
        if reachable:
            return prefetched.missing if required else frozenset()
        if required:
            raise PreconditionFailed(
                ErrorCode.PREFETCH_MISSING,
                f"Needed data was not prefetched and cannot be fetched: {', '.join(required)}.",
                expression="prefetch",
            )
        return frozenset()
