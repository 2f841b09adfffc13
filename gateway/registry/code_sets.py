"""The code sets that releases bring along, joined with the packaged tables before any release is looked into.

A release may hold `codes.csv`, in the columns of the terminology's `concepts.csv`, and `stems.csv` (group, stem, place). The order matters:
manifests are checked against the terminology, so the tables of all releases below the folder come first. They are held against the
folder's hashes here, and when a release is loaded it must still bring nothing that the terminology does not hold.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from gateway.registry.folder import newest_folders, read_release_files
from gateway.registry.refusal import ManifestRefused, ReleaseRefused
from gateway.registry.signature import SHIPPED_KEYS
from gateway.terminology import TableRefused, Terminology, load_terminology
from gateway.terminology.extra import TableKind
from gateway.terminology.table import decode_concept_rows

CODES, STEMS = "codes.csv", "stems.csv"


def load_code_sets(root: Path, trusted: Collection[str] = SHIPPED_KEYS) -> Terminology:
    """Return the terminology of a folder of releases: the packaged tables and what the newest version of every model below `root` brings.

    Raises:
        ReleaseRefused: no trusted key signed a release, a file is not the one that was hashed,
            a table is malformed, or says something else than another one. The place names model, version and file.
    """
    folders = [folder for folder in newest_folders(root) if any((folder / name).exists() for name in (CODES, STEMS))]
    held = {f"{folder.parent.name}/{folder.name}": _read(folder, trusted) for folder in folders}
    codes = {f"{place}/{CODES}": files[CODES] for place, files in held.items() if CODES in files}
    stems = {f"{place}/{STEMS}": files[STEMS] for place, files in held.items() if STEMS in files}
    try:
        return load_terminology(codes.values(), stems.values())
    except TableRefused as error:
        places = list(stems if error.kind is TableKind.STEMS else codes)
        raise ManifestRefused(places[error.table], str(error)) from None
    except ValueError as error:
        raise ManifestRefused(" or ".join(codes), str(error)) from None


def _read(folder: Path, trusted: Collection[str]) -> Mapping[str, bytes]:
    try:
        return read_release_files(folder, trusted)
    except ReleaseRefused as refusal:
        raise type(refusal)(f"{folder.parent.name}/{folder.name}/{refusal.place}", refusal.reason) from None


def require_code_sets(files: Mapping[str, bytes], terminology: Terminology) -> None:
    """Refuse a release whose codes are not part of the terminology it is loaded with: its conditions would never be found.

    Raises:
        ManifestRefused: a row of its `codes.csv`, or a group of its `stems.csv`, is not there.
    """
    for row in decode_concept_rows(files[CODES]) if CODES in files else ():
        concept = terminology.concepts.get(row.concept)
        if concept is None or (row.system, row.code) not in {(code.system, code.code) for code in concept.codes}:
            raise ManifestRefused(CODES, f"{row.concept} {row.code} is not part of the terminology that the release is loaded with")
