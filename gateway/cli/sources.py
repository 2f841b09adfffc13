"""Where the command line takes a record from: the configured FHIR server, or a Bundle file."""

import asyncio
import getpass
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from gateway.api.parameters import parse_as_of, parse_patient_id, parse_setting
from gateway.app import START_FAILURES, Running, open_gateway
from gateway.assessment.request import AssessmentRequest
from gateway.cli.console import fail
from gateway.clock import Deadline
from gateway.config import Settings, SettingsError
from gateway.config_safety import require_safe
from gateway.errors import GatewayError
from gateway.fhir.group import FetchedRecord
from gateway.identity import Caller, Permission, RequestId, TenantId
from gateway.record import read_bundle

T = TypeVar("T")

PatientArgument = Annotated[str, typer.Argument(help="Patient id on the configured FHIR server, or the path of a Bundle file.")]
AsOfOption = Annotated[str | None, typer.Option("--as-of", help="Assess as of this time: a date, or a dateTime with a time zone.")]
SettingOption = Annotated[str | None, typer.Option("--setting", help="Care setting: ed, inpatient or ambulatory.")]
CompleteOption = Annotated[
    bool, typer.Option("--record-complete", help="The file holds everything there is: what is not in it is absent, not unknown.")
]
PatientOption = Annotated[str | None, typer.Option("--patient", help="Which patient of the file, when it holds several.")]


def cli_caller(settings: Settings) -> Caller:
    """Return who uses the command line: the operating system's user."""
    return Caller(
        client_id="cli",
        tenant=TenantId(settings.tenant.name),
        user=getpass.getuser(),
        permissions=frozenset({Permission.ASSESS, Permission.ASSESS_RETROSPECTIVE, Permission.AUDIT_READ, Permission.MODEL_READ}),
    )


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the options of a command say about a record, as they were typed."""

    as_of: str | None
    setting: str | None
    complete: bool
    of_patient: str | None
    models: tuple[str, ...] = ()


def make_request(running: Running, patient: str, operation: str, options: RecordOptions) -> AssessmentRequest:
    """Return the request that the command's options mean.

    Raises:
        gateway.errors.GatewayError: an option, or the file, cannot be understood.
    """
    settings = running.settings
    given = _load_record(running, Path(patient), options)
    return AssessmentRequest(
        caller=cli_caller(settings),
        request_id=RequestId(str(uuid.uuid4())),
        operation=operation,
        patient_id=given.patient_id if given else parse_patient_id(patient.removeprefix("Patient/")),
        deadline=Deadline(running.gateway.clock, settings.server.deadline_rest_s),
        models=options.models,
        as_of=parse_as_of(options.as_of) if options.as_of else None,
        setting=parse_setting(options.setting) if options.setting else None,
        given=given,
        pull=frozenset() if given else None,
    )


def _load_record(running: Running, file: Path, options: RecordOptions) -> FetchedRecord | None:
    """Return the record of a Bundle file; None when the argument names no file, and so a patient of the server."""
    if not file.is_file():
        return None
    try:
        raw = file.read_bytes()
    except OSError as error:
        fail(f"the file cannot be read ({error.strerror})")
    base_url = running.source.base_url if running.source else None
    return read_bundle(raw, patient_id=options.of_patient, declared_complete=options.complete, base_url=base_url)


def with_gateway(settings: Settings, work: Callable[[Running], Awaitable[T]]) -> T:
    """Open the gateway, do the work, close it; whatever hinders it ends the command with status 2."""
    try:
        require_safe(settings)
    except SettingsError as error:
        fail(str(error))

    async def run() -> T:
        async with open_gateway(settings) as running:
            return await work(running)

    try:
        return asyncio.run(run())
    except GatewayError as error:
        fail(f"{error.code.value}: {error.public}" + (f" ({error.detail})" if error.detail else ""))
    except START_FAILURES as error:
        fail(str(error))
