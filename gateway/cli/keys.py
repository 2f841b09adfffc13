"""`gateway keys`."""

import msgspec
import typer

from gateway.audit import KeyFailure
from gateway.audit.open_kms import make_keys, open_kms
from gateway.cli.console import ConfigOption, Exit, JsonOption, emit, fail, say, settings_of

app = typer.Typer(no_args_is_help=True)


class KeyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where the wrapping key lies and whether it can be used; nothing secret."""

    provider: str
    wrapping_key: str
    signing_public_key: str
    usable: bool
    reason: str


@app.command("init")
def init(config: ConfigOption = None) -> None:
    """Make the keys that are made once: the key file, or the signing key sealed under the key of the service. Never overwrites."""
    settings = settings_of(config)
    try:
        make_keys(settings)
    except KeyFailure as error:
        fail(str(error))
    made = settings.audit.key_file if settings.kms.provider == "file" else settings.kms.signing_file
    say(f"made {made}, readable by its owner alone; keep a copy where the database's backups are not")


@app.command("status")
def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:  # noqa: FBT002 - a flag of the command line
    """Tell where the wrapping key lies and whether it can be used now. Exit 1 when it cannot."""
    settings = settings_of(config)
    try:
        kms = open_kms(settings)
    except KeyFailure as error:
        fail(f"the keys cannot be used: {error}")
    health = kms.health()
    found = KeyStatus(
        provider=settings.kms.provider,
        wrapping_key=kms.kek_id,
        signing_public_key=kms.public_key.hex(),
        usable=health.usable,
        reason=health.reason,
    )
    if as_json:
        emit(found)
    else:
        say(f"{found.provider}: wrapping key {found.wrapping_key}, signing public key {found.signing_public_key}")
        say("usable" if found.usable else f"NOT usable: {found.reason}")
    if not found.usable:
        raise typer.Exit(Exit.FOUND)
