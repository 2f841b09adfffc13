"""Settings: one TOML file plus the environment, every setting with its explanation beside it.

    load_settings(path, environ) -> Settings

An environment variable `GATEWAY__SECTION__KEY` overrides `key` of `[section]`. An unknown key is refused with its place and the nearest known
name: a typo never switches something off. `problems_of` says in words what is unsafe; outside the development profile each problem is
a reason not to start. docs/configuration.md is printed by `python -m gateway.config`.
"""

import difflib
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

ENVIRONMENT_PREFIX = "GATEWAY__"
CONFIG_VARIABLE = "GATEWAY_CONFIG"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class SettingsError(ValueError):
    """The configuration cannot be used; the text names the place and what to do."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, keyword-only, and refuses keys it does not know."""


class ServerSettings(_Section, frozen=True, kw_only=True):
    """Where the gateway listens, and the limits of one request."""

    host: Annotated[str, Meta(description="Address to bind. Without configured identities only a loopback address is accepted.")] = "127.0.0.1"
    port: Annotated[int, Meta(description="Port to bind; 0 takes a free one.", ge=0, le=65535)] = 8000
    public_url: Annotated[str, Meta(description="The gateway's own base URL as callers see it; empty: taken from host and port.")] = ""
    body_bytes_max: Annotated[int, Meta(description="Largest request body in bytes; a larger one is refused with 413.", gt=0)] = 10_000_000
    concurrency_max: Annotated[int, Meta(description="Requests in work at once; one more is refused with 503.", gt=0)] = 128
    deadline_rest_s: Annotated[float, Meta(description="Seconds one REST request may take, FHIR pull and audit included.", gt=0)] = 10.0
    deadline_cds_s: Annotated[float, Meta(description="Seconds one CDS Hooks request may take (the specification suggests 0.5).", gt=0)] = 0.5
    shutdown_grace_s: Annotated[float, Meta(description="Seconds that requests in work get to finish when the gateway stops.", ge=0)] = 20.0
    openapi: Annotated[bool, Meta(description="Serve the OpenAPI page at /docs. Refused outside the development profile.")] = False


class FhirSettings(_Section, frozen=True, kw_only=True):
    """The hospital's FHIR server."""

    base_url: Annotated[str, Meta(description="FHIR base URL, https outside development; empty: only inline records and prefetch.")] = ""
    batch: Annotated[
        Literal["auto", "never", "always"], Meta(description="Send the searches as one batch Bundle: where proven, never, or always.")
    ] = "auto"
    page_entries: Annotated[int, Meta(description="`_count` of every search.", gt=0)] = 1000
    pages_max: Annotated[int, Meta(description="Pages followed per search; more make the group incomplete.", gt=0)] = 20
    entries_max: Annotated[int, Meta(description="Entries taken per search; more make the group incomplete.", gt=0)] = 20_000
    body_bytes_max: Annotated[int, Meta(description="Largest response in bytes, after decompression.", gt=0)] = 33_554_432
    requests_at_once_max: Annotated[int, Meta(description="Requests of one pull at once.", gt=0)] = 6
    connect_s_max: Annotated[float, Meta(description="Seconds to wait for a connection.", gt=0)] = 3.0
    attempts_max: Annotated[int, Meta(description="Attempts of one read, the first included.", gt=0)] = 3
    observation_search: Annotated[
        Literal["code", "category"], Meta(description="Search Observations by code, or by category where the server cannot search by code.")
    ] = "code"


class AuditSettings(_Section, frozen=True, kw_only=True):
    """The audit log and its keys."""

    database: Annotated[str, Meta(description="SQLite file of the log, on a local disk.")] = "var/audit.db"
    key_file: Annotated[str, Meta(description="Key file (mode 0400), in production on another device than the database.")] = "var/kek.json"
    wait_s_max: Annotated[float, Meta(description="Seconds to wait until a record is durable; then 503 and no answer.", gt=0)] = 2.0
    log_id: Annotated[str, Meta(description="Name of this log in receipts and proofs.", pattern="^[A-Za-z0-9.-]{1,64}$")] = "gateway"


class ModelSettings(_Section, frozen=True, kw_only=True):
    """Which model releases are served."""

    folder: Annotated[str, Meta(description="Folder with the releases, `<name>/<version>/`; empty: the releases shipped with the gateway.")] = ""
    enabled: Annotated[tuple[str, ...], Meta(description="Names of the models to serve; empty: all.")] = ()


class CdsSettings(_Section, frozen=True, kw_only=True):
    """The CDS Hooks service."""

    threshold: Annotated[
        Literal["model", "always"], Meta(description="When a card is shown: at the model's own alert threshold, or always.")
    ] = "model"
    source_label: Annotated[str, Meta(description="Name under which cards appear.", min_length=1)] = "Clinical inference gateway"
    valid_minutes: Annotated[int, Meta(description="Minutes for which a card counts as current.", gt=0)] = 60


class TenantSettings(_Section, frozen=True, kw_only=True):
    """The hospital this gateway serves."""

    name: Annotated[str, Meta(description="Short name; stands in every audit record.", pattern="^[a-z0-9-]{1,32}$")] = "default"


class LoggingSettings(_Section, frozen=True, kw_only=True):
    """The structured log; it never holds patient data."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least severe level that is written.")] = "info"
    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="JSON lines, readable lines, or readable lines on a terminal only.")
    ] = "auto"


class ClockSettings(_Section, frozen=True, kw_only=True):
    """The clock; a shifted one is refused outside development."""

    offset_days: Annotated[float, Meta(description="Days by which the gateway's clock is ahead, for trying out what ageing records do.")] = 0.0


class Settings(_Section, frozen=True, kw_only=True):
    """Everything that can be set."""

    profile: Annotated[
        Literal["development", "production"],
        Meta(description="`production` refuses every unsafe setting; `development` names them in the log and binds to loopback."),
    ] = "development"
    server: ServerSettings = ServerSettings()
    fhir: FhirSettings = FhirSettings()
    audit: AuditSettings = AuditSettings()
    models: ModelSettings = ModelSettings()
    cds: CdsSettings = CdsSettings()
    tenant: TenantSettings = TenantSettings()
    logging: LoggingSettings = LoggingSettings()
    clock: ClockSettings = ClockSettings()


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Load the file (or the one named by GATEWAY_CONFIG, or none), then apply the environment.

    Raises:
        SettingsError: the file cannot be read, a key is unknown, or a value is of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    document = _load_document(path) if path else {}
    _apply_environment(document, environ)
    _refuse_unknown(document, Settings, "")
    try:
        return msgspec.convert(document, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"configuration: {error}") from error


def _load_document(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"configuration file {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration file {path}: not valid TOML ({error})") from error


def _apply_environment(document: dict[str, object], environ: Mapping[str, str]) -> None:
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        *sections, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        place = document
        for section in sections:
            inner = place.setdefault(section, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"{variable}: [{section}] is not a section")
            place = inner
        place[key] = _listed(value) if key == "enabled" else value


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _refuse_unknown(document: Mapping[str, object], section: type[msgspec.Struct], place: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(section)}
    for key, value in document.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"unknown setting {place + key!r}{hint}")
        inner = fields[key]
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            _refuse_unknown(value, inner, f"{place}{key}.")


def problems_of(settings: Settings) -> tuple[str, ...]:
    """Say what is unsafe about the settings, in words, with what to do. Empty when nothing is."""
    return tuple(_problems(settings))


def _problems(settings: Settings) -> Iterable[str]:
    if settings.server.host not in LOOPBACK:
        yield "server.host is not a loopback address, and no identities are configured: anybody could ask about any patient"
    elif settings.profile != "development":
        yield "no identities are configured: only the development profile may run with the named development caller"
    base = urlsplit(settings.fhir.base_url)
    if settings.fhir.base_url and base.scheme != "https" and (settings.profile != "development" or base.hostname not in LOOPBACK):
        yield "fhir.base_url is not https: patient data would travel in clear"
    if settings.profile != "development":
        if settings.clock.offset_days:
            yield "clock.offset_days shifts the clock: every age of a value would be wrong"
        if settings.server.openapi:
            yield "server.openapi shows the OpenAPI page: switch it off outside development"
        if _same_device(settings.audit.database, settings.audit.key_file):
            yield "audit.key_file lies on the database's device: who takes the disk has both; put it on another mount"


def _same_device(database: str, key_file: str) -> bool:
    return _device_of(Path(database)) == _device_of(Path(key_file))


def _device_of(path: Path) -> int:
    for candidate in (path, *path.absolute().parents):
        if candidate.exists():
            return candidate.stat().st_dev
    return -1


def require_safe(settings: Settings) -> None:
    """Refuse to start on unsafe settings. Loopback under the development profile is the one allowed exception.

    Raises:
        SettingsError: names every problem.
    """
    problems = problems_of(settings)
    if problems:
        raise SettingsError("refusing to start:\n" + "\n".join(f"  - {problem}" for problem in problems))


def render_documentation() -> str:
    """Return docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "One TOML file, named by `--config` or `GATEWAY_CONFIG`; an environment variable `GATEWAY__SECTION__KEY` overrides `key` of `[section]`.",
        "Unknown keys are refused. This page is generated from the settings (`python -m gateway.config`); a test fails when it is stale.",
    ]
    lines += _section_lines(Settings, "")
    return "\n".join(lines) + "\n"


def _section_lines(section: type[msgspec.Struct], name: str) -> list[str]:
    hints = get_type_hints(section, include_extras=True)
    plain = [field for field in msgspec.structs.fields(section) if not _is_section(hints[field.name])]
    lines = ["", f"## [{name}]" if name else "## Top level", "", (section.__doc__ or "").strip(), ""]
    lines += ["| setting | kind | default | meaning |", "|---|---|---|---|"]
    lines += [_setting_line(field.name, hints[field.name], field.default) for field in plain]
    for field in msgspec.structs.fields(section):
        if _is_section(hints[field.name]):
            lines += _section_lines(hints[field.name], field.name)
    return lines


def _is_section(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _setting_line(name: str, hint: object, default: object) -> str:
    kind, *metas = get_args(hint)
    words = ", ".join(f"`{choice}`" for choice in get_args(kind)) if get_origin(kind) is Literal else getattr(kind, "__name__", "list of text")
    meaning = next((meta.description for meta in metas if isinstance(meta, Meta) and meta.description), "")
    shown = '""' if default == "" else "[]" if default == () else str(default).lower() if isinstance(default, bool) else default
    return f"| `{name}` | {words} | `{shown}` | {meaning} |"


if __name__ == "__main__":
    sys.stdout.write(render_documentation())
