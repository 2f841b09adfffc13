"""`gateway models`."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.cli.console import ConfigOption, Exit, JsonOption, emit, fail, say, settings_of
from gateway.config import Settings
from gateway.errors import ModelRefused
from gateway.inference.runtime import Runtime, open_workers
from gateway.registry import CheckReport, Release, admit_releases, check_file, check_shipped, load_code_sets
from gateway.registry.code_sets import CODES, STEMS
from gateway.registry.folder import GRAPH, vouch_for
from gateway.registry.lint import lint_release, manifest_schema, new_release
from gateway.registry.release import VECTORS
from gateway.served_models import load_models, models_folder, runtime_plan, trusted_keys
from gateway.terminology import Terminology, load_terminology

app = typer.Typer(no_args_is_help=True)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

VectorsOption = Annotated[
    Path | None, typer.Option("--vectors", help="Any vector file of the model; without it, every file shipped with the release.")
]


@app.command("list")
def list_models(as_json: JsonOption = False, config: ConfigOption = None) -> None:  # noqa: FBT002 - a flag of the command line
    """List the releases that are served: the enabled ones, and those they read."""
    settings = settings_of(config)
    try:
        with opened_runtime(settings) as runtime:
            served = load_models(settings, load_code_sets(models_folder(settings), trusted_keys(settings)), runtime)
    except ModelRefused as refusal:
        fail(f"refused: {refusal}")
    rows = [
        {
            "name": release.manifest.name,
            "version": release.manifest.version,
            "title": release.manifest.title,
            "inputs": len(release.manifest.inputs),
            "outputs": len(release.manifest.outputs),
            "sha256": release.identity.graph_sha256,
        }
        for release in served.values()
    ]
    if as_json:
        emit(rows)
        return
    for row in rows:
        say(f"{row['name']} {row['version']}: {row['title']}, {row['inputs']} inputs, {row['outputs']} outputs, sha256 {row['sha256']}")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    vectors: VectorsOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
    config: ConfigOption = None,
) -> None:
    """Run a model's test vectors; the last line says how many rows are within tolerance."""
    settings = settings_of(config)
    with opened_runtime(settings) as runtime:
        releases, terminology = load_all(settings, runtime)
        release = releases.get(name)
        if release is None:
            fail(f"no model {name!r} is released here; released: {', '.join(releases)}")
        reports = run_checks(release, runtime, terminology, vectors)
        place = runtime.place_of(name)
    if as_json:
        emit(
            [{"model": report.model, "kind": report.kind, "rows": report.rows.rows, "failures": report.rows.failures} for report in reports]
        )
    else:
        say(f"{name} runs {place}")
        print_reports(reports)
    if not all(report.rows.passed for report in reports):
        raise typer.Exit(Exit.FOUND)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The model's name: small letters, digits and underscores.")],
    root: Annotated[Path, typer.Option("--folder", help="Where the releases lie.")] = Path("models"),
) -> None:
    """Write a release to start from: a manifest with an example of everything, and the header of its vector file."""
    if not _NAME.fullmatch(name):
        fail("a model's name has small letters, digits and underscores, and begins with a letter")
    try:
        folder = new_release(root, name)
    except OSError as error:
        fail(f"{root / name}: cannot be written ({type(error).__name__})")
    say(f"written: {folder}")
    say(f"next: put {GRAPH} and rows of {VECTORS} beside it, then `gateway models lint {folder}`")


@app.command("lint")
def lint(
    folder: Annotated[Path, typer.Argument(help="The release: `<name>/<version>`. It need not be signed yet.")],
) -> None:
    """Say what is wrong with a release: where, what was expected, and an example."""
    try:
        own = [(folder / name).read_bytes() if (folder / name).is_file() else b"" for name in (CODES, STEMS)]
        known = load_terminology([own[0]] if own[0] else [], [own[1]] if own[1] else [])
        problems = lint_release(folder.resolve(), known)
    except (OSError, ValueError) as error:
        fail(f"{folder} cannot be read: {error if isinstance(error, ValueError) else type(error).__name__}")
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(Exit.FOUND)
    say(f"nothing is wrong with {folder}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a manifest, for editors that check TOML."""
    emit(manifest_schema())


@app.command("sign")
def sign(
    folder: Annotated[Path, typer.Argument(help="The release: `<name>/<version>`.")],
    key: Annotated[Path, typer.Option("--key", help="The private key: Ed25519, PEM without a password, readable by its owner only.")],
) -> None:
    """Hash every file of a release and sign the hashes; the last line is the public key to be trusted (`models.trusted_keys`)."""
    private = read_signing_key(key)
    release = folder.resolve()
    if not release.is_dir() or not any(release.iterdir()):
        fail(f"{folder} holds no files")
    try:
        vouch_for(release, private)
    except OSError as error:
        fail(f"{folder} cannot be signed ({type(error).__name__})")
    say(f"signed {release.parent.name} {release.name}")
    say(private.public_key().public_bytes_raw().hex())


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key, or end with status 2; one that others may read is refused."""
    try:
        if path.stat().st_mode & 0o077:
            fail(f"{path} may be read by others; set its mode to 0400")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        fail(f"the key cannot be read ({type(error).__name__})")
    if not isinstance(key, Ed25519PrivateKey):
        fail("the key is not an Ed25519 key")
    return key


@contextlib.contextmanager
def opened_runtime(settings: Settings) -> Iterator[Runtime]:
    """Give a runtime into which releases are loaded; its workers end with it."""
    plan = runtime_plan(settings)
    with open_workers(plan) as workers:
        runtime = Runtime(plan, workers)
        try:
            yield runtime
        finally:
            runtime.close_loader()


def load_all(settings: Settings, runtime: Runtime) -> tuple[dict[str, Release], Terminology]:
    """Load every release, or end with status 2."""
    try:
        terminology = load_code_sets(models_folder(settings), trusted_keys(settings))
        releases = admit_releases(models_folder(settings), runtime, terminology, trusted_keys(settings))
    except ModelRefused as refusal:
        fail(f"refused: {refusal}")
    return {release.manifest.name: release for release in releases}, terminology


def run_checks(release: Release, runtime: Runtime, terminology: Terminology, vectors: Path | None) -> tuple[CheckReport, ...]:
    """Check one file, or every file that the release brings; a file that cannot be used ends with status 2."""
    try:
        run = runtime.runner(release.manifest.name)
        if vectors is None:
            return tuple(check_shipped(release, run, terminology).values())
        return (check_file(release, vectors.read_bytes(), run, terminology),)
    except (ModelRefused, OSError) as error:
        fail(str(error))


def print_reports(reports: tuple[CheckReport, ...]) -> None:
    """Print failures, then the counts; the last line is the promised one."""
    for report in reports:
        for failure in report.rows.failures:
            say(f"{failure.case_id}: {failure.reason}")
        say(f"{report.model}, {report.kind.value} vectors:" if len(reports) > 1 else "")
        say(report.rows.last_line)
    if len(reports) > 1:
        rows = sum(report.rows.rows for report in reports)
        failed = sum(len(report.rows.failures) for report in reports)
        say(f"{rows - failed} of {rows} rows within tolerance")
