"""The project's own tree, as the house tests read it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Tree:
    """The source files of the package."""

    root = ROOT
    package = ROOT / "gateway"

    def modules(self) -> Iterator[tuple[str, ast.Module]]:
        """Yield each module's path below the root with its syntax tree."""
        for path in sorted(self.package.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))

    def imports(self) -> Iterator[tuple[str, str]]:
        """Yield each module's path with each absolute module name it imports."""
        for path, module in self.modules():
            for node in ast.walk(module):
                if isinstance(node, ast.Import):
                    yield from ((path, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield path, node.module

    def text(self, path: str) -> str:
        """Return a file of the project."""
        return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def tree() -> Tree:
    """The project's tree."""
    return Tree()
