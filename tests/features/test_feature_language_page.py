"""docs/feature-language.md: every example is what the manifest's own decoder takes, and no operator is left out."""

import re
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

from gateway.features import manifest as language

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "feature-language.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml (\w+)\n(.*?)```", PAGE, re.DOTALL)
GRAPH_KEYS = ("packed_tensor", "element", "result_tensor", "device_tolerance")  # of the manifest itself
_hints = get_type_hints(language.ModelManifest)
FORMS = {
    "graph": msgspec.defstruct("Graph", [(key, _hints[key]) for key in GRAPH_KEYS], forbid_unknown_fields=True),
    "index_stay": language.IndexStay,
    "consistency": language.Consistency,
    "eligibility": language.Eligibility,
    "fallback": language.FallbackSpec,
    "finding": language.Finding,
    "input": language.InputSpec,
    "output": language.OutputSpec,
    "spread": language.Spread,
    "variant": language.Variant,
}


class _Holder(msgspec.Struct, forbid_unknown_fields=True):
    feature: language.Feature


@pytest.mark.parametrize(("form", "example"), EXAMPLES, ids=[f"{place}-{form}" for place, (form, _) in enumerate(EXAMPLES)])
def test_every_example_is_decoded(form, example):
    """With unknown keys refused, as in a release."""
    kind = _Holder if form == "feature" else FORMS[form]
    document = msgspec.toml.decode(example.encode())
    decoded = msgspec.to_builtins(msgspec.convert(_held(form, document), kind))
    words = {key: value for key, value in document.items() if isinstance(value, str)}
    assert (decoded["feature"] if form == "feature" else decoded).items() >= words.items()
    with pytest.raises(msgspec.ValidationError, match="no_such_key"):
        msgspec.convert(_held(form, document | {"no_such_key": 1}), kind)


def _held(form, document):
    return {"feature": document} if form == "feature" else document


def test_every_operator_and_section_has_an_example():
    """What a manifest may say stands on the page."""
    union = msgspec.inspect.type_info(language.Feature)
    tags = {member.cls.__struct_config__.tag for member in union.types}
    shown = {msgspec.toml.decode(example.encode())["operator"] for form, example in EXAMPLES if form == "feature"}
    assert shown == tags
    assert {form for form, _ in EXAMPLES} == {*FORMS, "feature"}
