"""A release: a folder of files, read once, held against its hashes, decoded and looked into, but not yet run.

    terminology = load_code_sets(Path("models"))                 # with the code sets that releases bring
    releases = load_releases(Path("models"), terminology)        # models read by others come first
    engine.load(release, partial(require_vectors, release, terminology))

Everything later works on the bytes that were hashed; no file is opened twice.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from gateway.features.check import manifest_problems
from gateway.features.manifest import ModelManifest, ReleaseIdentity, decode_manifest
from gateway.features.plan import models_read
from gateway.registry.card import CARD, ModelCard, decode_card
from gateway.registry.code_sets import require_code_sets
from gateway.registry.folder import GRAPH, MANIFEST, SUMS, newest_folders, read_release_files
from gateway.registry.onnx_graph import PLACE, GraphSummary, TensorType, read_graph
from gateway.registry.refusal import FileRefused, GraphRefused, ManifestRefused, ReleaseRefused
from gateway.registry.signature import SHIPPED_KEYS
from gateway.terminology import Terminology

VECTORS = "vectors.csv"
RELEASES_MAX = 256
CERTIFIED_BYTES_MAX = 256 * 1024  # ten times the largest shipped graph; weights of a learned model make it larger


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a release and what they say. `files` holds every file by name; `certified`: see `look_into`."""

    manifest: ModelManifest
    graph: bytes
    vectors: bytes
    card: ModelCard
    identity: ReleaseIdentity
    files: Mapping[str, bytes]
    certified: bool


def load_release(folder: Path, terminology: Terminology, trusted: Collection[str] = SHIPPED_KEYS) -> Release:
    """Load the release in `folder`, which is named `<name>/<version>`; `trusted`: public keys that may vouch for it.

    Raises:
        ReleaseRefused: no trusted key signed it, a file is not the one that was hashed,
            the manifest is unsound, or the graph holds what may not run. The place names model, version and file.
    """
    try:
        return _load(folder, terminology, trusted)
    except ReleaseRefused as refusal:
        raise type(refusal)(f"{folder.parent.name}/{folder.name}/{refusal.place}", refusal.reason) from None


def load_releases(root: Path, terminology: Terminology, trusted: Collection[str] = SHIPPED_KEYS) -> tuple[Release, ...]:
    """Load the newest version of every model below `root`; a model stands behind those whose outputs it reads.

    Raises:
        ReleaseRefused: one release is refused, or models read each other in a circle.
    """
    folders = newest_folders(root)
    if not folders or len(folders) > RELEASES_MAX:
        raise FileRefused(root.name, f"holds {len(folders)} releases")
    return in_order(load_release(folder, terminology, trusted) for folder in folders)


def in_order(releases: Iterable[Release]) -> tuple[Release, ...]:
    """Return the releases so that each stands behind those whose outputs it reads, by name where that leaves a choice.

    Raises:
        ManifestRefused: a model has two releases, reads a model or an output that is not there, or reads itself through others.
    """
    by_name: dict[str, Release] = {}
    for release in releases:
        if release.manifest.name in by_name:
            raise ManifestRefused(release.manifest.name, "has more than one release")
        by_name[release.manifest.name] = release
    done: dict[str, Release] = {}
    for name in sorted(by_name):
        _place(name, by_name, done, ())
    return tuple(done.values())


def _place(name: str, by_name: Mapping[str, Release], done: dict[str, Release], readers: tuple[str, ...]) -> None:
    if name in done:
        return
    if name in readers:
        raise ManifestRefused(name, f"reads its own output through {' and '.join(readers)}")
    for read in models_read(by_name[name].manifest):
        if read.model not in by_name or read.output not in {output.name for output in by_name[read.model].manifest.outputs}:
            raise ManifestRefused(name, f"reads {read.output} of {read.model}, which is not among the releases")
        _place(read.model, by_name, done, (*readers, name))
    done[name] = by_name[name]


def _load(folder: Path, terminology: Terminology, trusted: Collection[str]) -> Release:
    files = read_release_files(folder, trusted)
    for name in (MANIFEST, VECTORS, CARD):
        if name not in files:
            raise FileRefused(name, "is missing")
    require_code_sets(files, terminology)
    manifest = _decode(files[MANIFEST])
    is_remote = manifest.backend == "remote"
    if (GRAPH in files) is is_remote:
        raise FileRefused(GRAPH, "is there, and another server runs the model" if is_remote else "is missing")
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ManifestRefused(MANIFEST, "name and version are not those of the folders")
    problems = manifest_problems(manifest, terminology)
    if problems:
        raise ManifestRefused(MANIFEST, "; ".join(problems))
    identity = ReleaseIdentity(
        name=manifest.name,
        version=manifest.version,
        graph_sha256=hashlib.sha256(files[SUMS if is_remote else GRAPH]).hexdigest(),
        manifest_sha256=hashlib.sha256(files[MANIFEST]).hexdigest(),
    )
    return Release(
        manifest=manifest,
        graph=files.get(GRAPH, b""),
        vectors=files[VECTORS],
        card=decode_card(files[CARD], manifest),
        identity=identity,
        files=files,
        certified=not is_remote and look_into(files[GRAPH], manifest),
    )


def look_into(graph: bytes, manifest: ModelManifest) -> bool:
    """Refuse a graph that may not run, and tell whether it may run in the server process (design 3.8).

    That is a small one, of plain operators, which poisons what it cannot answer.

    Raises:
        GraphRefused: it holds what may not run, or is not what the manifest says.
    """
    summary = read_graph(graph)
    check_signature(summary, manifest)
    plain = all(domain == "" for domain, _ in summary.operators)
    return manifest.applicable_tensor is not None and plain and len(graph) <= CERTIFIED_BYTES_MAX


def _decode(content: bytes) -> ModelManifest:
    try:
        return decode_manifest(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # DecodeError: TOML or a wrong key; both name the place
        raise ManifestRefused(MANIFEST, str(error)) from None


def check_signature(graph: GraphSummary, manifest: ModelManifest) -> None:
    """Hold names, element types and shapes of a graph against its manifest: inputs [N] or packed [N, inputs], results [N, outputs].

    Raises:
        GraphRefused: they differ.
    """
    _check_inputs(graph, manifest)
    if manifest.applicable_tensor is None:
        _check_brought_result(graph, manifest)
        return
    results = {manifest.result_tensor: "float64", manifest.applicable_tensor: "bool"}
    if graph.outputs.keys() != results.keys():
        raise GraphRefused(PLACE, "the outputs are not the manifest's result_tensor and applicable_tensor")
    for name, element in results.items():
        if not _is_rows_of(graph.outputs[name], element, (len(manifest.outputs),)):
            raise GraphRefused(PLACE, f"the output {name} is not {element} [N, {len(manifest.outputs)}]")


def _check_inputs(graph: GraphSummary, manifest: ModelManifest) -> None:
    packed = manifest.packed_tensor
    names = [packed] if packed is not None else [spec.tensor for spec in manifest.inputs]
    row: tuple[int, ...] = (len(manifest.inputs),) if packed is not None else ()
    promised: dict[str, tuple[str, tuple[int, ...]]] = dict.fromkeys(names, (manifest.element, row))
    if manifest.variant_tensor is not None:
        promised[manifest.variant_tensor] = ("int64", ())
    for name in sorted(promised.keys() ^ graph.inputs.keys()):
        raise GraphRefused(PLACE, f"the input {name} stands only in the {'manifest' if name in promised else 'graph'}")
    for name, (element, dimensions) in promised.items():
        if not _is_rows_of(graph.inputs[name], element, dimensions):
            raise GraphRefused(PLACE, f"the input {name} is not {element} [{', '.join(['N', *map(str, dimensions)])}]")


def _check_brought_result(graph: GraphSummary, manifest: ModelManifest) -> None:
    """A tool's own graph may have more outputs and more columns than are read; the result is [N] or [N, columns]."""
    kind = graph.outputs.get(manifest.result_tensor)
    if kind is None:
        raise GraphRefused(PLACE, f"there is no output {manifest.result_tensor}, which the manifest names as result_tensor")
    highest = max(output.index for output in manifest.outputs)
    columns = kind.dimensions[1] if len(kind.dimensions) > 1 else 1
    if not isinstance(columns, int) or columns <= highest or not _is_rows_of(kind, manifest.element, kind.dimensions[1:2]):
        raise GraphRefused(PLACE, f"the output {manifest.result_tensor} is not {manifest.element} [N, more than {highest}]")


def _is_rows_of(kind: TensorType, element: str, row: tuple[int | str, ...]) -> bool:
    """Tell whether a tensor has this element type, an open first dimension and these others."""
    open_first = kind.dimensions[:1] and isinstance(kind.dimensions[0], str)
    return kind.element == element and bool(open_first) and kind.dimensions[1:] == row
