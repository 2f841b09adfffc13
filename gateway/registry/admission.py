"""From a folder of releases to models that are served: each is checked, loaded, run on its vectors, and only then answers."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Protocol

from gateway.registry.release import Release, load_releases
from gateway.registry.signature import SHIPPED_KEYS
from gateway.registry.vectors import RunRow, require_vectors
from gateway.terminology import Terminology


class Engine(Protocol):
    """What loads and runs graphs; registry and runtime do not know each other."""

    def load(self, release: Release, self_test: Callable[[RunRow], None]) -> None:
        """Load a release beside what is served, self-test it, then serve it.

        Raises:
            gateway.errors.ModelRefused: the runtime refuses it, or the self-test does.
        """
        ...


def admit(release: Release, engine: Engine, terminology: Terminology) -> None:
    """Load one release into the engine; it is served only if every vector passes.

    Raises:
        gateway.errors.ModelRefused: the runtime refuses the graph, or a vector fails; what was served before still is.
    """
    engine.load(release, partial(require_vectors, release, terminology))


def admit_releases(root: Path, engine: Engine, terminology: Terminology, trusted: Collection[str] = SHIPPED_KEYS) -> tuple[Release, ...]:
    """Load every release below `root` into the engine and return them, those that others read first.

    Raises:
        gateway.errors.ModelRefused: one of them is refused.
    """
    releases = load_releases(root, terminology, trusted)
    for release in releases:
        admit(release, engine, terminology)
    return releases
