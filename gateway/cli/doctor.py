"""`gateway doctor`: is everything there that an answer needs, and if not, what to do."""

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
import typer

from gateway.app import make_clock, make_source
from gateway.audit import KeyFailure, verify_log
from gateway.audit.open_kms import open_kms
from gateway.cli.console import ConfigOption, Exit, JsonOption, emit, say, settings_of
from gateway.cli.models import opened_runtime
from gateway.clock import Deadline
from gateway.config import Settings
from gateway.config_safety import check_settings, problem_of_base_url
from gateway.errors import GatewayError, ModelRefused
from gateway.fhir.capability import Capability
from gateway.registry import load_code_sets
from gateway.served_models import load_models, models_folder, trusted_keys

DISK_FREE_BYTES_MIN = 1_000_000_000  # a day of audit records at ten assessments a second, three times over
KMS_ADVICE = "see the settings of the section kms; `gateway keys init` makes the signing key once"
FHIR_WAIT_S = 10.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what was looked at, whether it is good, what was seen, and what to do."""

    check: str
    good: bool
    seen: str
    advice: str = ""


def doctor(as_json: JsonOption = False, config: ConfigOption = None) -> None:  # noqa: FBT002 - a flag of the command line
    """Check configuration, keys, audit log, models, FHIR server and disk; say what to do."""
    settings = settings_of(config)
    findings = tuple(examine(settings))
    if as_json:
        emit(findings)
    else:
        for finding in findings:
            say(f"{'ok  ' if finding.good else 'FAIL'} {finding.check}: {finding.seen}")
            if finding.advice:
                say(f"     {finding.advice}")
    if not all(finding.good for finding in findings):
        raise typer.Exit(Exit.FOUND)


def examine(settings: Settings) -> Iterable[Finding]:
    """Run every check."""
    yield from _configuration(settings)
    yield _keys(settings)
    yield _log(settings)
    yield _models(settings)
    yield asyncio.run(_fhir(settings))
    yield _disk(settings)


def _configuration(settings: Settings) -> Iterable[Finding]:
    problems = check_settings(settings)
    yield Finding(check="configuration", good=not problems, seen=f"profile {settings.profile}, {len(problems)} problems")
    yield from (Finding(check="configuration", good=False, seen=problem) for problem in problems)


def _keys(settings: Settings) -> Finding:
    path = Path(settings.audit.key_file)
    in_file = settings.kms.provider == "file"
    if in_file and not path.exists():
        made = settings.profile == "development"
        advice = "it is made at the first start" if made else "make one by `gateway keys init`, on another mount than the database"
        return Finding(check="keys", good=made, seen=f"no key file at {path}", advice=advice)
    try:
        kms = open_kms(settings)
    except KeyFailure as error:
        advice = "restore the key file from its backup; without it no payload can be read" if in_file else KMS_ADVICE
        return Finding(check="keys", good=False, seen=str(error), advice=advice)
    place = f"key file {path}" if in_file else settings.kms.provider
    health = kms.health()
    return Finding(check="keys", good=health.usable, seen=f"{place}, wrapping key {kms.kek_id}", advice=health.reason)


def _log(settings: Settings) -> Finding:
    path = Path(settings.audit.database)
    if not path.exists():
        return Finding(check="audit log", good=True, seen=f"no database at {path} yet", advice="it is made at the first start")
    report = verify_log(path)
    advice = "" if report.valid else "stop the gateway and run `gateway audit verify`: it names the place"
    return Finding(check="audit log", good=report.valid, seen=f"{report.records} records, {report.problem_count} problems", advice=advice)


def _models(settings: Settings) -> Finding:
    try:
        with opened_runtime(settings) as runtime:
            models = load_models(settings, load_code_sets(models_folder(settings), trusted_keys(settings)), runtime)
    except ModelRefused as refusal:
        advice = "restore the release (one that differs from its hashes never runs), or correct models.folder and models.enabled"
        return Finding(check="models", good=False, seen=str(refusal), advice=advice)
    seen = ", ".join(f"{name} {model.manifest.version}" for name, model in models.items())
    return Finding(check="models", good=bool(models), seen=seen or "none")


async def _fhir(settings: Settings) -> Finding:
    clock = make_clock(settings)
    if problem := problem_of_base_url(settings):
        return Finding(check="FHIR server", good=False, seen="not asked", advice=problem)
    source = make_source(settings, clock)
    if source is None:
        advice = "set fhir.base_url to pull records; inline records work without"
        return Finding(check="FHIR server", good=True, seen="none configured", advice=advice)
    try:
        capability = await source.fetch_capability(Deadline(clock, FHIR_WAIT_S))
    except GatewayError as error:
        advice = "is fhir.base_url right, and does GET {base}/metadata answer?"
        return Finding(check="FHIR server", good=False, seen=error.public, advice=advice)
    finally:
        await source.aclose()
    return Finding(check="FHIR server", good=True, seen=_capability_words(capability))


def _capability_words(capability: Capability) -> str:
    software = capability.software or "a FHIR server that does not name itself"
    return f"{software}, FHIR {capability.fhir_version or 'version unknown'}, batch {'offered' if capability.batch else 'not offered'}"


def _disk(settings: Settings) -> Finding:
    path = Path(settings.audit.database).absolute().parent
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    good = free >= DISK_FREE_BYTES_MIN
    advice = "" if good else "a full disk stops every answer: make room or move audit.database"
    return Finding(check="disk", good=good, seen=f"{free // 10**6} MB free for the audit log", advice=advice)
