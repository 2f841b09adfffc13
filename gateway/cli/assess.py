"""`gateway assess`."""

from typing import Annotated

import typer

from gateway.api.assess_risk import render
from gateway.app import Running
from gateway.assessment.assess import Assessed
from gateway.assessment.assess import assess as assess_patient
from gateway.cli.console import ConfigOption, JsonOption, emit_body, say, settings_of
from gateway.cli.sources import (
    AsOfOption,
    CompleteOption,
    PatientArgument,
    PatientOption,
    RecordOptions,
    SettingOption,
    make_request,
    with_gateway,
)
from gateway.results.plain import describe

ModelOption = Annotated[list[str] | None, typer.Option("--model", help="A model to run; may stand several times. Default: all.")]


def assess(  # noqa: PLR0913 - typer takes one parameter per option
    patient: PatientArgument,
    model: ModelOption = None,
    as_of: AsOfOption = None,
    setting: SettingOption = None,
    record_complete: CompleteOption = False,  # noqa: FBT002 - a flag of the command line
    of_patient: PatientOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
    config: ConfigOption = None,
) -> None:
    """Assess a patient of the FHIR server, or a Bundle file. Leaves an audit record like any caller."""
    settings = settings_of(config)
    models = tuple(model or ())
    options = RecordOptions(as_of=as_of, setting=setting, complete=record_complete, of_patient=of_patient, models=models)

    async def work(running: Running) -> Assessed:
        return await assess_patient(make_request(running, patient, "cli:assess", options), running.gateway, render)

    assessed = with_gateway(settings, work)
    if as_json:
        emit_body(assessed.body)
        return
    for line in describe(assessed.answer):
        say(line)
    say(f"audit receipt: {assessed.receipt}")
