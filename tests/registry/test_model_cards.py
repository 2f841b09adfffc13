"""Model cards: nothing is left out, nothing contradicts the manifest, and what is shown is what the card says."""

import html
import json
import re

import pytest
from release_keys import TRUSTED
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.registry import load_release
from gateway.registry.card import CardRefused, source_attributes
from gateway.registry.card_page import card_html, card_markdown, card_sections

SOURCE_ATTRIBUTES = 31  # 45 CFR 170.315(b)(11)(iv)(B): 4 + 4 + 2 + 4 + 2 + 4 + 5 + 4 + 2
CHAI_SECTIONS = 7
MODELS = ("cha2ds2vasc", "ckdepi2021", "fib4", "hospital", "kfre", "meld3", "news2", "prevent")


def test_every_source_attribute_is_written(prevent_release):
    """All 31, in nine groups."""
    attributes = source_attributes(prevent_release.card)
    assert len(attributes) == SOURCE_ATTRIBUTES
    assert [sum(group == name for group, _, _ in attributes) for name in dict.fromkeys(group for group, _, _ in attributes)] == [
        4, 4, 2, 4, 2, 4, 5, 4, 2,
    ]  # fmt: skip
    assert all(text.strip() for _, _, text in attributes)


def test_the_page_shows_every_text_and_escapes_it(prevent_release):
    """Markdown and HTML hold the same sections; nothing of a card becomes markup."""
    sections = card_sections(prevent_release.manifest, prevent_release.identity, prevent_release.card)
    assert len([title for title, _ in sections if title.startswith("CHAI: ")]) == CHAI_SECTIONS
    markdown = card_markdown(prevent_release.manifest, prevent_release.identity, prevent_release.card)
    page = card_html(prevent_release.manifest, prevent_release.identity, prevent_release.card)
    for title, entries in sections:
        assert f"## {title}\n" in markdown
        assert f"<h2>{html.escape(title)}</h2>" in page
        assert all(f"- **{label}**: {text}" in markdown and html.escape(text) in page for label, text in entries)
    assert "Khan SS" in page
    assert "&#x27;" in page  # Heart Association's


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('funding_source = "not available"\n', "", "funding_source"),
        ('funding_source = "not available"', 'funding_source = " "', "details.funding_source is empty"),
        ("[updates]", 'more = "x"\n[updates]', "more"),
        ("Estimated glomerular filtration rate of adults", "Any eGFR of adults", "intended_use"),
    ],
)
def test_a_card_that_leaves_out_or_contradicts_is_refused(copy_of, rehash, known, old, new, reason):
    """The release is not loaded, and the refusal names the place."""
    folder = copy_of("ckdepi2021")
    card = folder / "card.toml"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new, 1))
    rehash(folder)
    with pytest.raises(CardRefused, match=re.escape(reason)):
        load_release(folder, known, TRUSTED)


@pytest.mark.parametrize("name", MODELS)
def test_the_command_line_shows_every_card(name):
    """As Markdown where nobody watches, as a page, and as data."""
    told = CliRunner().invoke(app, ["models", "show", name])
    assert told.exit_code == 0
    assert "## 9. Update and reassessment schedule" in told.output
    page = CliRunner().invoke(app, ["models", "show", name, "--format", "html"])
    assert page.output.startswith("<!doctype html>")
    data = json.loads(CliRunner().invoke(app, ["models", "show", name, "--json"]).output)
    assert len(data["source_attributes"]) == SOURCE_ATTRIBUTES


def test_the_shipped_graphs_are_what_their_sources_give():
    """`models build` makes them anew in a fresh process and compares."""
    told = CliRunner().invoke(app, ["models", "build"])
    assert told.exit_code == 0, told.output
    assert told.output.splitlines()[-1] == "8 of 8 graphs are the shipped ones, byte for byte"
