"""The tree of commands."""

import typer

from gateway.cli import assess, audit, demo, doctor, keys, model_build, models, record, serve, terminology
from gateway.telemetry import configure_logging, log_crashes

app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Clinical inference gateway: pulls a FHIR record, judges it, runs risk models, audits before it answers.",
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("assess")(assess.assess)
app.add_typer(record.app, name="record", help="What was understood of a record.")
app.add_typer(models.app, name="models", help="Model releases: list, check, write, sign and show them.")
models.app.command("show")(model_build.show)
models.app.command("build")(model_build.build)
app.add_typer(audit.app, name="audit", help="The audit log: verify it, read it.")
app.add_typer(keys.app, name="keys", help="The keys of the audit log: make them, see whether they can be used.")
app.add_typer(terminology.app, name="terminology", help="Codes and units: check them against test vectors.")


def main() -> None:
    """Run the command line. A fault that nobody caught leaves its type and place, never its text: that may hold a patient's data."""
    configure_logging("error")  # until the settings are read and say more
    log_crashes()
    app()
