"""What a hospital states about itself: its words are checked when the gateway starts, and reach the answer."""

import json
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.errors import ModelRefused
from gateway.inference.runtime import Runtime, RuntimePlan
from gateway.registry import load_code_sets
from gateway.served_models import SHIPPED_MODELS, load_models


@pytest.mark.parametrize("stated", ["europe", "North_America", "", 1.0])
def test_a_word_that_the_model_does_not_know_refuses_the_start(stated):
    """A misspelt region must not turn into a site without one; the words are named."""
    with pytest.raises(ModelRefused, match=r"site\.region: kfre wants north_america or elsewhere"):
        load_models(Settings(site={"region": stated}), load_code_sets(SHIPPED_MODELS), Runtime(RuntimePlan(), Path()))


@pytest.mark.parametrize("site", [{}, {"region": "elsewhere"}, {"region": "north_america"}, {"other": 3.0}])
def test_a_known_word_none_or_one_that_nobody_asks_for_is_accepted(site):
    """There is no default: without a region the gateway starts, and the model says what is missing."""
    assert "kfre" in load_models(Settings(site=site), load_code_sets(SHIPPED_MODELS), Runtime(RuntimePlan(), Path()))


def test_a_model_that_is_not_served_does_not_ask():
    """Its setting is nobody's concern."""
    served = load_models(
        Settings(site={"region": "europe"}, models=enabled("prevent")), load_code_sets(SHIPPED_MODELS), Runtime(RuntimePlan(), Path())
    )
    assert set(served) == {"ckdepi2021", "prevent"}


def enabled(*names):
    return type(Settings().models)(enabled=names)


def test_the_documented_page_names_words_beside_numbers(run, config):
    """A table of words is read from the file; `models list` shows that the configuration was accepted."""
    path = config(more='[site]\nregion = "elsewhere"')
    listed = run("models", "list", "--json", "--config", path)
    assert listed.exit_code == 0
    assert "kfre" in {row["name"] for row in json.loads(listed.stdout)}
