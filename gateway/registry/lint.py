"""What keeps a manifest from being one, told so that its author can mend it: the place, what was expected there, and an example.

The decoder's own message names place and kind; the examples stand in the template that `gateway models new` writes, so that what is shown
is what is decoded.
"""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from gateway.features.check import manifest_problems
from gateway.features.manifest import ModelManifest, decode_manifest
from gateway.registry.card import CARD, decode_card
from gateway.registry.folder import GRAPH, MANIFEST
from gateway.registry.onnx_graph import read_graph
from gateway.registry.refusal import ReleaseRefused
from gateway.registry.release import VECTORS, check_signature
from gateway.registry.vectors import read_rows
from gateway.terminology import Terminology

TEMPLATE = Path(__file__).with_name("template.toml")
CARD_TEMPLATE = Path(__file__).with_name("card_template.toml")
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLACE = re.compile(r"(?P<what>.*?) - at `\$(?P<place>[^`]*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]+)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_KIND = re.compile(r"Expected `(?P<expected>[^`]+)`, got `(?P<given>[^`]+)`")
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def manifest_schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of `manifest.toml`, made from the types it is decoded into."""
    schema = msgspec.json.schema(ModelManifest)
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = re.sub(r"\s+", " ", definition["description"]).strip()
    return {"$schema": SCHEMA_DIALECT, "title": "manifest.toml of a model release", **schema}


def lint_release(folder: Path, terminology: Terminology) -> tuple[str, ...]:
    """Return what is wrong with a release that need not be signed yet: manifest, graph and vector file, each as far as it can be read.

    Raises:
        OSError: the folder or its manifest cannot be read.
    """
    problems, manifest = lint_manifest((folder / MANIFEST).read_bytes())
    if manifest is None:
        return problems
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        problems += (f"{MANIFEST}: name and version: expected those of the folders, {folder.parent.name}/{folder.name}",)
    problems += tuple(f"{MANIFEST}: {problem}" for problem in manifest_problems(manifest, terminology))
    return problems + tuple(_file_problems(folder, manifest))


def lint_manifest(content: bytes) -> tuple[tuple[str, ...], ModelManifest | None]:
    """Return what is wrong with a manifest by its form, and the manifest where nothing is."""
    try:
        return (), decode_manifest(content)
    except UnicodeDecodeError:
        return (f"{MANIFEST}: expected text in UTF-8",), None
    except msgspec.ValidationError as error:
        return (f"{MANIFEST}: {explain(str(error))}",), None
    except msgspec.DecodeError as error:
        return (f"{MANIFEST}: expected TOML: {error}",), None


def _file_problems(folder: Path, manifest: ModelManifest) -> Iterable[str]:
    for name in (*(() if manifest.backend == "remote" else (GRAPH,)), VECTORS, CARD):
        if not (folder / name).is_file():
            yield f"{name}: is missing"
    try:
        if (folder / CARD).is_file():
            decode_card((folder / CARD).read_bytes(), manifest)
    except ReleaseRefused as refusal:
        yield f"{CARD}: {explain(refusal.reason)}"
    try:
        if (folder / GRAPH).is_file():
            check_signature(read_graph((folder / GRAPH).read_bytes()), manifest)
        rows = read_rows((folder / VECTORS).read_bytes()) if (folder / VECTORS).is_file() else None
    except ReleaseRefused as refusal:
        yield str(refusal)
        return
    if rows is not None and not rows:
        yield f"{VECTORS}: holds no row"


def explain(message: str) -> str:
    """Return a decoder's message as `place: what was expected; for example: ...`."""
    found = _PLACE.match(message)
    what, place = (found["what"], found["place"].removeprefix(".")) if found else (message, "")
    for pattern, words in ((_UNKNOWN, "is no key here"), (_MISSING, "is missing")):
        named = pattern.match(what)
        if named is not None:
            where = f"{place}.{named['name']}".removeprefix(".")
            known = f"; expected one of: {', '.join(_keys_beside(place))}" if pattern is _UNKNOWN and _keys_beside(place) else ""
            return f"{where}: {words}{known}{_example(where)}"
    kind = _KIND.match(what)
    if kind is not None:
        expected = " or ".join(_WORDS.get(name.strip(), name.strip()) for name in kind["expected"].split("|"))
        return f"{place}: expected {expected}, found {_WORDS.get(kind['given'], kind['given'])}{_example(place)}"
    return f"{place or 'manifest'}: {what[:1].lower()}{what[1:]}{_example(place)}"


def _example(place: str) -> str:
    found = _examples().get(re.sub(r"\[\d+\]", "[]", place))
    return f"; for example: {found}" if found is not None else ""


def _keys_beside(place: str) -> tuple[str, ...]:
    start = re.sub(r"\[\d+\]", "[]", place)
    depth = f"{start}." if start else ""
    keys = (known[len(depth) :] for known in _examples() if known.startswith(depth))
    return tuple(dict.fromkeys(key for key in keys if "." not in key and "[" not in key))


@functools.cache
def _examples() -> Mapping[str, str]:
    """Return a line of TOML by place (`inputs[].unit`), from the template."""
    return dict(_lines(msgspec.toml.decode(TEMPLATE.read_bytes()), ""))


def _lines(value: object, place: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            where = f"{place}.{key}" if place else str(key)
            if not isinstance(inner, dict) and not (isinstance(inner, list) and inner and isinstance(inner[0], dict)):
                yield where, f"{key} = {json.dumps(inner)}"
            yield from _lines(inner, where)
    elif isinstance(value, list):
        for inner in value:
            yield from _lines(inner, f"{place}[]")


def new_release(root: Path, name: str) -> Path:
    """Write the template of a release `<name>/0.1.0` below `root` and return its folder; what is there already is left alone.

    Raises:
        FileExistsError: there is such a release.
    """
    folder = root / name / "0.1.0"
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(TEMPLATE.read_text(encoding="utf-8").replace("NAME", name, 1), encoding="utf-8")
    (folder / CARD).write_text(CARD_TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / VECTORS).write_text("case_id,age_years,creatinine_mg_dl,expected_risk,tolerance_abs\n", encoding="utf-8")
    return folder
