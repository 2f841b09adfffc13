"""`gateway terminology`."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.console import Exit, JsonOption, emit, fail, say
from gateway.errors import ModelRefused
from gateway.registry import check_units
from gateway.terminology import load_terminology

app = typer.Typer(no_args_is_help=True)


@app.callback()
def terminology() -> None:
    """Codes and units."""


@app.command("check")
def check(
    vectors: Annotated[Path, typer.Option("--vectors", help="File of unit conversion vectors.")],
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Run unit conversion vectors; the last line says how many rows are within tolerance."""
    try:
        report = check_units(load_terminology(), vectors.read_bytes())
    except (ModelRefused, OSError) as error:
        fail(str(error))
    if as_json:
        emit({"rows": report.rows, "failures": report.failures})
    else:
        for failure in report.failures:
            say(f"{failure.case_id}: {failure.reason}")
        say(report.last_line)
    if not report.passed:
        raise typer.Exit(Exit.FOUND)
