"""Why a release is not served.

    ModelRefused                     (gateway.errors) anything that keeps a model from being served
    ├── ReleaseRefused               the folder is not a release
    │   ├── FileRefused              a file is missing, additional, linked, too large, or not the one that was hashed
    │   ├── ManifestRefused          the manifest cannot be decoded, or contradicts itself or the terminology
    │   ├── GraphRefused             the graph holds what may not run, or is not what the manifest says
    │   └── VectorsRefused           a test vector fails, or there is none
    └── RuntimeRefused               (gateway.inference) the runtime does not take the graph

`place` is the file's name within the release (with the model's name where several are loaded), `reason` our own words.
"""

from gateway.errors import ModelRefused


class ReleaseRefused(ModelRefused):
    """The folder is not a release that may be served."""


class FileRefused(ReleaseRefused):
    """A file is missing, additional, linked, too large, or not the one that was hashed."""


class ManifestRefused(ReleaseRefused):
    """The manifest cannot be decoded, or contradicts itself, the folder's name or the terminology."""


class GraphRefused(ReleaseRefused):
    """The graph is malformed, holds what may not run, or is not what the manifest says."""


class VectorsRefused(ReleaseRefused):
    """A test vector fails or cannot be run, or there is none."""
