"""Reads a release folder once into bytes and holds it against its SHA256SUMS, and those against their signature.

Everything later works on these bytes, so nothing can be exchanged between the check and the use. A link of either kind is refused: what
it points to can change from outside the folder.
"""

import hashlib
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.registry.refusal import FileRefused
from gateway.registry.signature import SIGNATURE, require_signature, sign_release

SUMS = "SHA256SUMS"
FILES_MAX = 32
FILE_BYTES_MAX = 4 * 1024 * 1024
GRAPH_BYTES_MAX = 256 * 1024 * 1024
MANIFEST = "manifest.toml"
GRAPH = "model.onnx"
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,3}")
_SUM_LINE = re.compile(r"^(?P<digest>[0-9a-f]{64})  (?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,99})$")


def read_release_files(folder: Path, trusted: Collection[str]) -> Mapping[str, bytes]:
    """Return every file of a release by name, SHA256SUMS among them, each as it was hashed. The folder is named `<name>/<version>`.

    Raises:
        FileRefused: the folder is not one, a file is missing, additional, linked, too large, unreadable or not the one that was hashed, or
            none of the trusted keys signed the hashes for this release.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir()) if not folder.is_symlink() else []
    except OSError:
        raise FileRefused(folder.name, "the release folder cannot be read") from None
    if len(names) > FILES_MAX:
        raise FileRefused(folder.name, f"more than {FILES_MAX} files")
    if SUMS not in names:
        raise FileRefused(SUMS, "is missing, or the folder is a link")
    files = {name: _read_file(folder / name) for name in names}
    require_signature(folder.parent.name, folder.name, files[SUMS], files.get(SIGNATURE), trusted)
    expected = parse_sums(files[SUMS])
    for name in names:
        if name not in (SUMS, SIGNATURE) and name not in expected:
            raise FileRefused(name, f"is not listed in {SUMS}")
    for name, digest in expected.items():
        if name not in files:
            raise FileRefused(name, "is listed but missing")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise FileRefused(name, "is not the file that was hashed")
    return files


def newest_folders(root: Path) -> tuple[Path, ...]:
    """Return the folder of the newest version of every model below `root`, by name: those that are served.

    Raises:
        FileRefused: a folder with a manifest is not named by a version (numbers with dots between), or two versions are the same.
    """
    by_model: dict[str, dict[tuple[int, ...], Path]] = {}
    for folder in sorted(path.parent for path in root.glob(f"*/*/{MANIFEST}")):
        if not _VERSION.fullmatch(folder.name):
            raise FileRefused(f"{folder.parent.name}/{folder.name}", "is no version: numbers with dots between")
        versions = by_model.setdefault(folder.parent.name, {})
        version = tuple(map(int, folder.name.split(".")))
        if version in versions:
            raise FileRefused(f"{folder.parent.name}/{folder.name}", f"is the same version as {versions[version].name}")
        versions[version] = folder
    return tuple(versions[max(versions)] for _, versions in sorted(by_model.items()))


def hash_release(folder: Path) -> bytes:
    """Write SHA256SUMS over whatever lies in a folder, sorted by name, and return it.

    Raises:
        OSError: the folder cannot be read or written.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name not in (SUMS, SIGNATURE))
    sums = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names).encode("ascii")
    (folder / SUMS).write_bytes(sums)
    return sums


def vouch_for(folder: Path, key: Ed25519PrivateKey) -> None:
    """Hash a release and sign the hashes. The folder is named `<name>/<version>`.

    Raises:
        OSError: the folder cannot be read or written.
    """
    (folder / SIGNATURE).write_bytes(sign_release(key, folder.parent.name, folder.name, hash_release(folder)))


def parse_sums(text: bytes) -> dict[str, str]:
    """Return digest by name from lines as `sha256sum` writes them.

    Raises:
        FileRefused: a line has another form, names a file twice, or names SHA256SUMS or its signature.
    """
    sums: dict[str, str] = {}
    body = text.decode("ascii", errors="replace")
    if not body.endswith("\n"):
        raise FileRefused(SUMS, "must end with a line feed")
    for number, line in enumerate(body[:-1].split("\n"), start=1):
        found = _SUM_LINE.match(line)
        if found is None or found["name"] in sums or found["name"] in (SUMS, SIGNATURE):
            raise FileRefused(SUMS, f"line {number} is not a digest, two spaces and a name")
        sums[found["name"]] = found["digest"]
    return sums


def _read_file(path: Path) -> bytes:
    """Read a plain file with no other name, through one descriptor, so that the checks and the bytes belong to the same file."""
    limit = GRAPH_BYTES_MAX if path.name == GRAPH else FILE_BYTES_MAX
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise FileRefused(path.name, "cannot be read, or is a link") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileRefused(path.name, "is not a plain file")
        if status.st_nlink != 1:
            raise FileRefused(path.name, "has another name (hard link)")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise FileRefused(path.name, f"is larger than {limit} bytes")
    return content
