"""A manifest that does not fit the terminology, or itself, is found before anyone is assessed with it."""

from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.features.check import manifest_problems
from gateway.features.manifest import Consistency, Newest, Range, Spread

if TYPE_CHECKING:
    from conftest import Charts


def test_the_shipped_manifests_are_sound(charts: "Charts") -> None:
    """Every name, unit, code group and variant of the shipped models resolves."""
    problems = {name: manifest_problems(manifest, charts.terminology) for name, manifest in charts.manifests.items()}
    assert problems == dict.fromkeys(charts.manifests, ())


def _changed_input(charts: "Charts", name: str, /, **changes: object) -> object:
    manifest = charts.manifests["prevent"]
    inputs = tuple(msgspec.structs.replace(spec, **changes) if spec.name == name else spec for spec in manifest.inputs)
    return msgspec.structs.replace(manifest, inputs=inputs)


MISTAKES = {
    "an unknown concept": ("hba1c", {"feature": Newest(concept="hba1d")}, "input hba1c: the terminology does not know hba1d"),
    "another unit": ("hba1c", {"unit": "mmol/mol"}, "input hba1c: its unit is mmol/mol, the terminology holds hba1c in %"),
    "an output that is needed nowhere": (
        "sbp",
        {"model_range": Range(low=1, high=2, only_for=("gout",))},
        "input sbp: gout is no output",
    ),
    "a needed input that is optional": ("sbp", {"optional": True}, "output total_cvd_10y needs sbp, which is optional"),
    "a name used twice": ("hba1c", {"name": "uacr"}, "input or exclusion uacr is declared twice"),
    "an age that nobody reads": ("age", {"feature": Newest(concept="bmi")}, "eligibility needs exactly one input with the operator age"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_an_input_is_named(mistake: str, charts: "Charts") -> None:
    """The words name the place."""
    name, changes, words = MISTAKES[mistake]
    assert words in manifest_problems(_changed_input(charts, name, **changes), charts.terminology)  # type: ignore[arg-type]  # a manifest


def test_a_set_of_optional_inputs_without_variant_is_named(charts: "Charts") -> None:
    """The graph must never be run with a variant that nobody chose."""
    manifest = charts.manifests["prevent"]
    without = msgspec.structs.replace(manifest, variants=manifest.variants[:-1])
    assert "no variant is made for ['hba1c', 'uacr']" in manifest_problems(without, charts.terminology)


def test_a_consistency_rule_about_nothing_is_named(charts: "Charts") -> None:
    """A pair needs two inputs."""
    manifest = msgspec.structs.replace(charts.manifests["prevent"], consistency=(Consistency(name="x", left="ldl", right="sbp"),))
    assert "consistency x: ldl is no input" in manifest_problems(manifest, charts.terminology)


def test_what_is_said_about_several_inputs_names_inputs(charts: "Charts") -> None:
    """A spread or a fallback beyond the range that names no input, and a reason code that does not exist."""
    manifest = charts.manifests["kfre"]
    egfr = msgspec.structs.replace(manifest.input("egfr"), model_range=Range(low=0, high=60, reason="TOO_GOOD"))
    broken = msgspec.structs.replace(
        manifest,
        spread=(Spread(inputs=("albumin", "urea"), days_max=90),),
        inputs=tuple(egfr if spec.name == "egfr" else spec for spec in manifest.inputs),
        fallbacks=(msgspec.structs.replace(manifest.fallbacks[0], beyond_range=("gfr",)),),
    )
    problems = manifest_problems(broken, charts.terminology)
    assert problems == ("spread: urea is no input", "fallback kdigo_risk: gfr is no input", "egfr: there is no reason code TOO_GOOD")
