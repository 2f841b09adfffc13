"""`gateway record show`."""

import msgspec
import typer

from gateway.app import Running
from gateway.assessment.overview import Overview, show_record
from gateway.cli.console import ConfigOption, JsonOption, emit, say, settings_of
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
from gateway.features.value import InputValue

app = typer.Typer(no_args_is_help=True)


@app.callback()
def record() -> None:
    """What was understood of a record."""


@app.command("show")
def show(  # noqa: PLR0913 - typer takes one parameter per option
    patient: PatientArgument,
    as_of: AsOfOption = None,
    setting: SettingOption = None,
    record_complete: CompleteOption = False,  # noqa: FBT002 - a flag of the command line
    of_patient: PatientOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
    config: ConfigOption = None,
) -> None:
    """Show every concept found in a record, with value, unit, time and source, and everything that was dropped. Leaves an audit record."""
    settings = settings_of(config)
    options = RecordOptions(as_of=as_of, setting=setting, complete=record_complete, of_patient=of_patient)

    async def work(running: Running) -> Overview:
        return await show_record(make_request(running, patient, "cli:record-show", options), running.gateway)

    overview = with_gateway(settings, work)
    if as_json:
        emit(as_document(overview))
        return
    say(f"Patient/{overview.patient_id} as of {overview.as_of.isoformat()}")
    for value in overview.inputs.values():
        say("  " + input_line(value))
    say(f"dropped: {len(overview.dropped)}")
    for dropped in overview.dropped:
        say(f"  {dropped.resource}: {dropped.reason}")


def as_document(overview: Overview) -> dict[str, object]:
    """Return the stable JSON form of a record."""
    return {
        "patient": overview.patient_id,
        "as_of": overview.as_of,
        "inputs": {name: _input_document(value) for name, value in overview.inputs.items()},
        "dropped": [msgspec.to_builtins(dropped) for dropped in overview.dropped],
    }


def _input_document(value: InputValue) -> dict[str, object]:
    first = value.evidence[0] if value.evidence else None
    return {
        "state": value.state.value,
        "value": value.value,
        "unit": value.unit if value.value is not None else None,
        "time": value.time,
        "source": first.source.reference if first else None,
        "raw_value": first.raw_value if first else None,
        "raw_unit": first.raw_unit if first else None,
        "reasons": [str(reason) for reason in value.reasons],
    }


def input_line(value: InputValue) -> str:
    """Return one input as a line for people."""
    if value.value is None:
        why = ", ".join(map(str, value.reasons))
        return f"{value.name}: {value.state.value}" + (f" ({why})" if why else "")
    when = f" on {value.time.date().isoformat()}" if value.time else ""
    shown = value.text or f"{value.value:g} {value.unit}"
    why = f" [{value.state.value}: {', '.join(map(str, value.reasons))}]" if value.reasons else ""
    return f"{value.name}: {shown}{when}{why}"
