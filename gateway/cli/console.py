"""Where the command line writes: text for people, JSON for programs, colours only on a terminal."""

import enum
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from gateway.config import Settings, SettingsError, load_settings
from gateway.telemetry import configure_logging

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file; else GATEWAY_CONFIG, else the defaults.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class Exit(enum.IntEnum):
    """What the exit status says."""

    GOOD = 0
    FOUND = 1
    COULD_NOT_RUN = 2


def say(text: str = "") -> None:
    """Print one line of plain text."""
    OUT.print(text, markup=False)


def emit(value: object) -> None:
    """Print a value as JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def emit_body(body: bytes) -> None:
    """Print the bytes of an answer: as they are, or laid out on a terminal."""
    sys.stdout.write((msgspec.json.format(body, indent=2) if OUT.is_terminal else body).decode() + "\n")


def fail(text: str) -> NoReturn:
    """Say why the command could not run, and end with status 2."""
    ERR.print(text, markup=False, style="red")
    raise typer.Exit(Exit.COULD_NOT_RUN)


def settings_of(config: Path | None) -> Settings:
    """Load the settings, or end with status 2."""
    try:
        settings = load_settings(config)
    except SettingsError as error:
        fail(str(error))
    configure_logging("error" if settings.logging.level == "info" else settings.logging.level, settings.logging.format)
    return settings
