"""`gateway models show` and `gateway models build`: what a release says of itself, and whether its graph is what its sources give."""

import enum
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from gateway.cli.console import OUT, ConfigOption, Exit, JsonOption, emit, fail, say, settings_of
from gateway.config import Settings
from gateway.errors import ModelRefused
from gateway.registry import Release, load_code_sets, load_releases
from gateway.registry.card import source_attributes
from gateway.registry.card_page import card_html, card_markdown
from gateway.registry.folder import GRAPH
from gateway.served_models import SHIPPED_MODELS, models_folder, trusted_keys

BUILDERS = "models.builders"


class Form(enum.StrEnum):
    """How a card is written."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    HTML = "html"


def show(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    form: Annotated[Form, typer.Option("--format", help="For the terminal, or as a page in Markdown or HTML.")] = Form.TERMINAL,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
    config: ConfigOption = None,
) -> None:
    """Print a model's card: the 31 source attributes of ONC and the sections of CHAI's model card."""
    release = release_named(name, settings_of(config))
    if as_json:
        attributes = [{"group": group, "name": attribute, "text": text} for group, attribute, text in source_attributes(release.card)]
        emit({"model": name, "version": release.manifest.version, "source_attributes": attributes, "chai": release.card.chai})
    elif form is Form.HTML:
        sys.stdout.write(card_html(release.manifest, release.identity, release.card))
    elif form is Form.MARKDOWN or not OUT.is_terminal:
        sys.stdout.write(card_markdown(release.manifest, release.identity, release.card))
    else:
        OUT.print(Markdown(card_markdown(release.manifest, release.identity, release.card)))


def release_named(name: str, settings: Settings) -> Release:
    """Return a release that is not run for this, or end with status 2."""
    try:
        terminology = load_code_sets(models_folder(settings), trusted_keys(settings))
        releases = {
            release.manifest.name: release for release in load_releases(models_folder(settings), terminology, trusted_keys(settings))
        }
    except ModelRefused as refusal:
        fail(f"refused: {refusal}")
    if name not in releases:
        fail(f"no model {name!r} is released here; released: {', '.join(releases)}")
    return releases[name]


WriteOption = Annotated[bool, typer.Option("--write", help="Write the graphs and hashes into the releases; they must be signed again.")]


def build(write: WriteOption = False) -> None:  # noqa: FBT002 - a flag of the command line
    """Build every shipped graph anew from its published numbers, and say whether it is the shipped one, byte for byte."""
    if not (SHIPPED_MODELS / "builders").is_dir():
        fail("the builders come with the source of the gateway, not with its package")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(shutil.copytree(SHIPPED_MODELS, Path(folder) / "models")) if not write else SHIPPED_MODELS
        shipped = {path.parent: path.read_bytes() for path in SHIPPED_MODELS.glob(f"*/*/{GRAPH}")}
        done = subprocess.run(  # noqa: S603 - our own interpreter, without a shell
            [sys.executable, "-m", BUILDERS, str(target)], cwd=SHIPPED_MODELS.parent, capture_output=True, check=False
        )
        if done.returncode:
            fail("the graphs cannot be built: is the extra `build` installed?")
        differing = 0
        for release, before in sorted(shipped.items()):
            place = release.relative_to(SHIPPED_MODELS)
            same = (target / place / GRAPH).read_bytes() == before
            differing += not same
            say(f"{place}: {'the same bytes' if same else 'other bytes'}")
    say(f"{len(shipped) - differing} of {len(shipped)} graphs are the shipped ones, byte for byte")
    if differing:
        raise typer.Exit(Exit.FOUND)
