"""Settings: one TOML file plus the environment, every setting with its explanation beside it.

    load_settings(path, environ) -> Settings

An environment variable `GATEWAY__SECTION__KEY` overrides `key` of `[section]`. An unknown key is refused with its place and the nearest
known name: a typo never switches something off. docs/configuration.md is printed by `python -m gateway.config`.
"""

import difflib
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

ENVIRONMENT_PREFIX = "GATEWAY__"
CONFIG_VARIABLE = "GATEWAY_CONFIG"


class SettingsError(ValueError):
    """The configuration cannot be used; the text names the place and what to do."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword-only, and refuses keys it does not know."""


class ServerSettings(_Section, frozen=True, kw_only=True):
    """Where the gateway listens, and the limits of one request."""

    host: Annotated[str, Meta(description="Address to bind. Without configured identities only a loopback address is accepted.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(description="Port to bind; 0 takes a free one.", ge=0, le=65535)] = 8000
    public_url: Annotated[
        str, Meta(description="The gateway's own FHIR base URL as callers see it, ending in /fhir; empty: left out of /fhir/metadata.")
    ] = ""
    processes: Annotated[
        int, Meta(description="Processes that answer requests; more than one share the audit log of a further one. As many as cores.", ge=1)
    ] = 1
    body_bytes_max: Annotated[int, Meta(description="Largest request body in bytes; a larger one is refused with 413.", gt=0)] = 10_000_000
    concurrency_max: Annotated[int, Meta(description="Requests in work at once; one more is refused with 503.", gt=0)] = 128
    deadline_rest_s: Annotated[float, Meta(description="Seconds one REST request may take, FHIR pull and audit included.", gt=0)] = 10.0
    deadline_cds_s: Annotated[float, Meta(description="Seconds one CDS Hooks request may take; the specification suggests 0.5.", gt=0)] = (
        0.5
    )
    infer_rows_max: Annotated[int, Meta(description="Rows in one infer request under /v2; more are refused with 413.", gt=0)] = 64
    shutdown_grace_s: Annotated[float, Meta(description="Seconds that requests in work get to finish when the gateway stops.", ge=0)] = 20.0
    openapi: Annotated[bool, Meta(description="Serve the OpenAPI page at /docs. Refused outside the development profile.")] = False


class FhirSettings(_Section, frozen=True, kw_only=True):
    """The hospital's FHIR server, and the limits of one pull."""

    base_url: Annotated[
        str,
        Meta(
            description="FHIR base URL: https, or http on loopback under the development profile. Empty: only inline records and prefetch."
        ),
    ] = ""
    batch: Annotated[
        Literal["auto", "never", "always"],
        Meta(description="Send the searches as one batch Bundle: where proven to work, never, or always."),
    ] = "auto"
    observation_search: Annotated[
        Literal["code", "category"], Meta(description="Search Observations by code, or by category where the server cannot search by code.")
    ] = "code"
    medication_statements: Annotated[
        bool,
        Meta(
            description="Read MedicationStatements beside MedicationRequests. `false` only for a server without that type: "
            "a search that fails withholds what depends on medication."
        ),
    ] = True
    page_entries: Annotated[int, Meta(description="`_count` of every search.", gt=0)] = 1000
    pages_max: Annotated[int, Meta(description="Pages followed per search; more make the group incomplete.", gt=0)] = 20
    entries_max: Annotated[int, Meta(description="Entries taken per search; more make the group incomplete.", gt=0)] = 20_000
    body_bytes_max: Annotated[int, Meta(description="Largest response in bytes, after decompression.", gt=0)] = 33_554_432
    pull_bytes_max: Annotated[int, Meta(description="Most bytes of one pull, after decompression.", gt=0)] = 100_663_296
    requests_at_once_max: Annotated[int, Meta(description="Requests of one pull at once.", gt=0)] = 6
    connections_max: Annotated[int, Meta(description="Connections to the server, over all pulls.", gt=0)] = 24
    pulls_at_once_max: Annotated[int, Meta(description="Pulls at once; a slow server does not take every request along.", gt=0)] = 16
    connect_s_max: Annotated[float, Meta(description="Seconds to wait for a connection.", gt=0)] = 3.0
    attempts_max: Annotated[int, Meta(description="Attempts of one read, the first included.", gt=0)] = 3


class AuditSettings(_Section, frozen=True, kw_only=True):
    """The audit log and its keys."""

    database: Annotated[str, Meta(description="SQLite file of the log, on a local disk.", min_length=1)] = "var/audit.db"
    key_file: Annotated[
        str,
        Meta(
            description="Key file (mode 0400). Outside development it must be named, and lie on another device than the database.",
            min_length=1,
        ),
    ] = "var/kek.json"
    wait_s_max: Annotated[float, Meta(description="Seconds to wait until a record is durable; then 503 and no answer.", gt=0)] = 2.0


class KmsSettings(_Section, frozen=True, kw_only=True):
    """Where the key lies that wraps all others."""

    provider: Annotated[
        Literal["file", "aws", "pkcs11"],
        Meta(description="The key file of `audit.key_file`, AWS KMS (extra `aws`), or a security module by PKCS#11 (extra `pkcs11`)."),
    ] = "file"
    signing_file: Annotated[
        str, Meta(description="File with the log's signing key, sealed under the service's key; made once by `gateway keys init`.")
    ] = "var/signing-key.json"
    aws_key: Annotated[str, Meta(description="Id, ARN or alias of the symmetric key in AWS KMS.")] = ""
    aws_region: Annotated[str, Meta(description="Region of AWS KMS; empty: as the host says.")] = ""
    aws_endpoint: Annotated[str, Meta(description="Another address of AWS KMS, for a private endpoint; empty: the region's own.")] = ""
    pkcs11_module: Annotated[str, Meta(description="Library of the security module.")] = ""
    pkcs11_token: Annotated[str, Meta(description="Label of the token.")] = ""
    pkcs11_key: Annotated[str, Meta(description="Label of the AES key on the token.")] = ""
    pkcs11_pin_file: Annotated[str, Meta(description="File with the PIN of the token, mode 0400.")] = ""


class RemoteSettings(_Section, frozen=True, kw_only=True):
    """A server that runs a model by the Open Inference Protocol."""

    base_url: Annotated[str, Meta(description="Base of the server; `/v2` comes behind it.", min_length=1)]
    model: Annotated[str, Meta(description="The model's name there; empty: as here.")] = ""
    version: Annotated[str, Meta(description="Its version there; empty: whichever the server chooses.")] = ""


class ModelSettings(_Section, frozen=True, kw_only=True):
    """Which model releases are served."""

    folder: Annotated[
        str, Meta(description="Folder with the releases, `<name>/<version>/`; empty: the releases shipped with the gateway.")
    ] = ""
    enabled: Annotated[tuple[str, ...], Meta(description="Names of the models to serve; empty: all.")] = ()
    trusted_keys: Annotated[
        tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...],
        Meta(description="Public keys (Ed25519, 64 hexadecimal digits) that may sign releases, beside the key of the shipped models."),
    ] = ()
    remote: Annotated[
        dict[str, RemoteSettings],
        Meta(
            description='For each release with `backend = "remote"`, who runs it by the Open Inference Protocol: `base_url`, and `model` '
            "and `version` as they are named there. https, or http on loopback."
        ),
    ] = {}
    device: Annotated[
        Literal["cpu", "gpu", "gpu-only"],
        Meta(
            description="Where models run that are not tiny: on the CPU, on the GPU and on the CPU while it fails, "
            "or on the GPU or not at all."
        ),
    ] = "cpu"
    placement: Annotated[
        Literal["auto", "worker"],
        Meta(description="`auto` runs tiny certified graphs in the server process and all others in workers; `worker` runs none there."),
    ] = "auto"
    gpu_python: Annotated[
        str, Meta(description="Python of the environment with the GPU build of ONNX Runtime; empty: the one the gateway runs under.")
    ] = ""
    run_s_max: Annotated[
        float, Meta(description="Seconds of silence after which a worker that was asked counts as hung, and is ended and replaced.", gt=0)
    ] = 0.5
    batch_rows_max: Annotated[int, Meta(description="Rows that run together; nothing waits for more to come.", gt=0, le=4096)] = 64
    worker_memory_bytes_max: Annotated[
        int, Meta(description="Memory of the CPU's worker in bytes; an allocation beyond it fails there.", ge=268_435_456)
    ] = 2_147_483_648


class CdsSettings(_Section, frozen=True, kw_only=True):
    """The CDS Hooks service."""

    threshold: Annotated[
        Literal["model", "always"], Meta(description="When a card is shown: at the threshold of the model, or always.")
    ] = "model"
    thresholds: Annotated[
        dict[str, Annotated[float, Meta(ge=0)]],
        Meta(
            description="Own thresholds by model name, on the scale of the model's output (a probability is 0..1), instead of the model's."
        ),
    ] = {}
    source_label: Annotated[str, Meta(description="Name under which cards appear.", min_length=1)] = "Clinical inference gateway"
    valid_minutes: Annotated[int, Meta(description="Minutes for which a card counts as current.", gt=0)] = 60


class TenantSettings(_Section, frozen=True, kw_only=True):
    """The hospital this gateway serves."""

    name: Annotated[str, Meta(description="Short name; stands in every audit record.", pattern="^[a-z0-9-]{1,32}$")] = "default"


class LoggingSettings(_Section, frozen=True, kw_only=True):
    """The structured log; it never holds patient data."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least severe level that is written.")] = "info"
    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="JSON lines, readable lines, or (auto) readable lines on a terminal only.")
    ] = "auto"


class ClockSettings(_Section, frozen=True, kw_only=True):
    """The clock; a shifted one is refused outside development."""

    offset_days: Annotated[
        float, Meta(description="Days by which the gateway's clock is ahead, for trying out what ageing records do.")
    ] = 0.0


class Settings(_Section, frozen=True, kw_only=True):
    """What holds for the whole process."""

    profile: Annotated[
        Literal["development", "production"],
        Meta(description="`development` runs without identities, on loopback only; `production` refuses to start on any unsafe setting."),
    ] = "development"
    server: ServerSettings = ServerSettings()
    fhir: FhirSettings = FhirSettings()
    audit: AuditSettings = AuditSettings()
    kms: KmsSettings = KmsSettings()
    models: ModelSettings = ModelSettings()
    cds: CdsSettings = CdsSettings()
    tenant: TenantSettings = TenantSettings()
    logging: LoggingSettings = LoggingSettings()
    clock: ClockSettings = ClockSettings()
    site: Annotated[
        dict[str, float | str],
        Meta(description='What the site states for its models, by the names and words of their manifests (`region = "elsewhere"`).'),
    ] = {}


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Load the file (or the one named by GATEWAY_CONFIG, or none), then apply the environment.

    Raises:
        SettingsError: the file cannot be read, a key is unknown, or a value is of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    document = _load_document(path) if path else {}
    _refuse_unknown(document, Settings, "")
    for variable, value in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            _override(document, variable, value)
    try:
        return msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"configuration: {error}") from error


def _load_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"configuration file {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration file {path}: not valid TOML ({error})") from error


def _refuse_unknown(document: Mapping[str, Any], section: type[msgspec.Struct], place: str) -> None:
    hints = get_type_hints(section)
    for key, value in document.items():
        if key not in hints:
            raise SettingsError(f"unknown setting {place + key!r}{_nearest(key, hints)}")
        if isinstance(value, dict) and _is_section(hints[key]):
            _refuse_unknown(value, hints[key], f"{place}{key}.")


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _override(document: dict[str, Any], variable: str, value: str) -> None:
    """Write one environment variable into the document, as the kind of value its setting has; lists are separated by commas."""
    *sections, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    hints, place = get_type_hints(Settings, include_extras=True), document
    for name in sections:
        if _kind(hints.get(name)) is dict:
            raise SettingsError(f"environment variable {variable}: a table can only be set in the file")
        if not _is_section(hints.get(name)):
            raise SettingsError(f"environment variable {variable}: there is no section [{name}]{_nearest(name, hints)}")
        hints, place = get_type_hints(hints[name], include_extras=True), place.setdefault(name, {})
    if key not in hints or _is_section(hints[key]):
        raise SettingsError(f"environment variable {variable}: unknown setting{_nearest(key, hints)}")
    if _kind(hints[key]) is dict:
        raise SettingsError(f"environment variable {variable}: a table can only be set in the file")
    given = [item.strip() for item in value.split(",") if item.strip()] if _kind(hints[key]) is tuple else value
    try:
        place[key] = msgspec.convert(given, hints[key], strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"environment variable {variable}: {error}") from error


def render_documentation() -> str:
    """Return docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "One TOML file, named by `--config` or `GATEWAY_CONFIG`; an environment variable `GATEWAY__SECTION__KEY` overrides",
        "`key` of `[section]` (a list is separated by commas; a table can only be set in the file). Unknown keys are refused.",
        "Every limit is ours: times in seconds, sizes in bytes.",
        "",
        "This page is generated from the settings (`python -m gateway.config > docs/configuration.md`); a test fails when it is stale.",
        *_section_lines(Settings, ""),
    ]
    return "\n".join(lines) + "\n"


def _section_lines(section: type[msgspec.Struct], name: str) -> list[str]:
    hints = get_type_hints(section, include_extras=True)
    fields = msgspec.structs.fields(section)
    lines = ["", f"## `[{name}]`" if name else "## Top level", "", (section.__doc__ or "").strip(), ""]
    lines += ["| setting | kind | default | meaning |", "|---|---|---|---|"]
    lines += [_setting_line(field.name, hints[field.name], field) for field in fields if not _is_section(hints[field.name])]
    for field in fields:
        if _is_section(hints[field.name]):
            lines += _section_lines(hints[field.name], field.name)
    return lines


def _setting_line(name: str, hint: object, field: msgspec.structs.FieldInfo) -> str:
    meaning = next((meta.description for meta in get_args(hint)[1:] if isinstance(meta, Meta) and meta.description), "")
    default = field.default if field.default is not msgspec.NODEFAULT else {}
    return f"| `{name}` | {_kind_in_words(_plain(hint))} | {_default_in_toml(default)} | {meaning} |"


def _kind_in_words(kind: Any) -> str:  # noqa: ANN401 - a type form has no narrower type
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", tuple: "list of text", dict: "table of numbers"}
    if get_origin(kind) is dict and str in get_args(get_args(kind)[1]):
        return f"{words[dict]} or words"
    return words[get_origin(kind) or kind]


def _default_in_toml(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    return "none" if default in ((), {}) else f"`{default}`"


def _is_section(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _kind(hint: object) -> object:
    """Return the class of a setting's value: int, tuple, dict, ..."""
    return get_origin(_plain(hint)) or _plain(hint)


def _plain(hint: object) -> object:
    """Return the type below Annotated."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


if __name__ == "__main__":
    sys.stdout.write(render_documentation())
