"""Whether a configuration is safe under its profile.

check_settings(settings)     -> what is unsafe, in words
require_safe(settings)       -> refuses to start on it
"""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config import AuditSettings, Settings, SettingsError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def check_settings(settings: Settings) -> tuple[str, ...]:
    """Say what is unsafe about the settings under their profile, in words, with what to do. Empty when nothing is.

    What would stand in the way of production is told by `check_settings(msgspec.structs.replace(settings, profile="production"))`.
    """
    return tuple(_problems(settings))


def _problems(settings: Settings) -> Iterable[str]:
    development = settings.profile == "development"
    if settings.server.host not in LOOPBACK:
        yield "server.host is not loopback and no identities are configured: anybody could ask about any patient; bind to 127.0.0.1"
    if not development:
        yield "profile: no identities are configured, so only the development profile may run, with its named development caller"
    if problem := problem_of_base_url(settings):
        yield problem
    for name, remote in settings.models.remote.items():
        if problem := _problem_of_server(remote.base_url):
            yield f"models.remote.{name}.base_url {problem}"
    if not development:
        yield from _production_problems(settings)


def problem_of_base_url(settings: Settings) -> str:
    """Say what is wrong with the FHIR base, without repeating it: it may hold a password. Empty: nothing."""
    base_url, development = settings.fhir.base_url, settings.profile == "development"
    if not base_url:
        return ""
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "fhir.base_url is not an http or https address"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "fhir.base_url holds a user, a query or a fragment: give the bare base"
    if parts.scheme == "https" or (development and parts.hostname in LOOPBACK):
        return ""
    return "fhir.base_url is not https: patient data would travel in clear (http is for loopback under the development profile)"


def _problem_of_server(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "is not an http or https address"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "holds a user, a query or a fragment: give the bare base"
    return "" if parts.scheme == "https" or parts.hostname in LOOPBACK else "is not https: numbers about patients would travel in clear"


def _production_problems(settings: Settings) -> Iterable[str]:
    if settings.clock.offset_days:
        yield "clock.offset_days shifts the clock: every age of a value would be wrong; set it to 0"
    if settings.server.openapi:
        yield "server.openapi shows the OpenAPI page: switch it off outside development"
    if settings.kms.provider != "file":
        if settings.kms.aws_endpoint and not settings.kms.aws_endpoint.startswith("https://"):
            yield "kms.aws_endpoint is not https: keys would travel in clear"
    elif settings.audit.key_file == AuditSettings().key_file:
        yield "audit.key_file is the default of the development profile: name a key file of your own"
    elif _device_of(Path(settings.audit.database)) == _device_of(Path(settings.audit.key_file)):
        yield "audit.key_file lies on the database's device: who takes the disk has both; put it on another mount"


def _device_of(path: Path) -> int:
    """Return the device of the path, or of the nearest folder above it that exists."""
    absolute = path.absolute()
    return next(candidate.stat().st_dev for candidate in (absolute, *absolute.parents) if candidate.exists())


def require_safe(settings: Settings) -> None:
    """Refuse to start on unsafe settings.

    Raises:
        SettingsError: names every problem.
    """
    problems = check_settings(settings)
    if problems:
        raise SettingsError("refusing to start:\n" + "\n".join(f"  - {problem}" for problem in problems))
