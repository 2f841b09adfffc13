"""`gateway record show`."""

import datetime as dt
from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer

from gateway.app import Running
from gateway.assessment.explain import ModelOverview, explain_model
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
from gateway.config import Settings
from gateway.features.value import InputValue
from gateway.record.values import Dropped
from gateway.results.extension import printable
from gateway.results.words import verdict_words

app = typer.Typer(no_args_is_help=True)

ModelOption = Annotated[str | None, typer.Option("--model", help="Explain the inputs of this model instead: found, used or not, and why.")]


@app.callback()
def record() -> None:
    """What was understood of a record."""


@app.command("show")
def show(  # noqa: PLR0913 - typer takes one parameter per option
    patient: PatientArgument,
    model: ModelOption = None,
    as_of: AsOfOption = None,
    setting: SettingOption = None,
    record_complete: CompleteOption = False,  # noqa: FBT002 - a flag of the command line
    of_patient: PatientOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
    config: ConfigOption = None,
) -> None:
    """Show every concept found in a record, with value, unit, time and source, and everything that was dropped. Leaves an audit record."""
    settings = settings_of(config)
    models = (model,) if model is not None else ()
    options = RecordOptions(as_of=as_of, setting=setting, complete=record_complete, of_patient=of_patient, models=models)
    if model is not None:
        _show_model(settings, patient, options, as_json=as_json)
        return

    async def work(running: Running) -> Overview:
        return await show_record(make_request(running, patient, "cli:record-show", options), running.gateway)

    overview = with_gateway(settings, work)
    if as_json:
        emit(as_document(overview))
        return
    say(f"Patient/{overview.patient_id} as of {overview.as_of.isoformat()}")
    for value in overview.inputs.values():
        say("  " + input_line(value))
    _say_dropped(overview.dropped)


def _show_model(settings: Settings, patient: str, options: RecordOptions, *, as_json: bool) -> None:
    """Explain one model's inputs."""

    async def work(running: Running) -> ModelOverview:
        return await explain_model(make_request(running, patient, "cli:record-show", options), running.gateway)

    overview = with_gateway(settings, work)
    if as_json:
        emit(_model_document(overview))
        return
    manifest = overview.answer.manifest
    say(f"Patient/{overview.patient_id} as of {overview.as_of.isoformat()}")
    say(f"{manifest.title} {manifest.version}: {verdict_words(overview.answer)}")
    for name, value in overview.inputs.items():
        say(printable("  " + input_line(value)))
        for sentence in overview.sentences[name]:
            say(printable("      " + sentence))
    _say_dropped(overview.dropped)


def _say_dropped(found: tuple[Dropped, ...]) -> None:
    say(f"dropped: {len(found)}")
    for dropped in found:
        say(f"  {dropped.resource}: {dropped.reason}")


def _model_document(overview: ModelOverview) -> dict[str, object]:
    """Return the form of a record, and beside it model, verdict and, by input, the sentences."""
    document = _document(overview.patient_id, overview.as_of, overview.inputs, overview.dropped)
    report = overview.answer.report
    return {
        **document,
        "model": {"name": report.model, "version": report.model_version},
        "verdict": overview.answer.verdict.value,
        "reasons": [str(reason) for reason in report.reasons],
        "sentences": overview.sentences,
    }


def as_document(overview: Overview) -> dict[str, object]:
    """Return the stable JSON form of a record."""
    return _document(overview.patient_id, overview.as_of, overview.inputs, overview.dropped)


def _document(patient_id: str, as_of: dt.datetime, inputs: Mapping[str, InputValue], dropped: tuple[Dropped, ...]) -> dict[str, object]:
    return {
        "patient": patient_id,
        "as_of": as_of,
        "inputs": {name: _input_document(value) for name, value in inputs.items()},
        "dropped": [msgspec.to_builtins(one) for one in dropped],
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
