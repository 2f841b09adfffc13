"""Model releases: the folder held against its hashes, the graph looked into, the vectors run, before anything is served.

    terminology = load_code_sets(Path("models"))                     packaged tables and the code sets that releases bring
    releases = admit_releases(Path("models"), engine, terminology)   folder -> served models, refused with place and reason otherwise
    report = check_file(release, csv_bytes, run, terminology)        any vector file -> rows that failed and why

Nothing here runs a graph: the engine is handed in.
"""

from gateway.registry.admission import admit, admit_releases
from gateway.registry.check import CheckReport, Kind, check_file, check_shipped, check_units
from gateway.registry.code_sets import load_code_sets
from gateway.registry.refusal import FileRefused, GraphRefused, ManifestRefused, ReleaseRefused, VectorsRefused
from gateway.registry.release import Release, load_release, load_releases
from gateway.registry.signature import SHIPPED_KEYS, sign_release
from gateway.registry.vectors import VectorReport, check_vectors, require_vectors

__all__ = [
    "SHIPPED_KEYS",
    "CheckReport",
    "FileRefused",
    "GraphRefused",
    "Kind",
    "ManifestRefused",
    "Release",
    "ReleaseRefused",
    "VectorReport",
    "VectorsRefused",
    "admit",
    "admit_releases",
    "check_file",
    "check_shipped",
    "check_units",
    "check_vectors",
    "load_code_sets",
    "load_release",
    "load_releases",
    "require_vectors",
    "sign_release",
]
