"""Build every shipped graph and write its release's hashes: `python -m models.builders [FOLDER]`, from the project's root.

FOLDER (default `models`) holds `<name>/<version>/`; the graphs are built from the coefficients beside them. The same tables, the same
version of the onnx package and the same code give the same bytes. Whoever holds the key then vouches for them: `gateway models sign`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from gateway.registry.folder import hash_release
from models.builders import cha2ds2vasc, ckdepi2021, fib4, hospital, kfre, meld3, news2, prevent

BUILDS: dict[str, Callable[[Path], bytes]] = {
    "cha2ds2vasc/1.0.0": cha2ds2vasc.build,
    "ckdepi2021/1.0.0": ckdepi2021.build,
    "fib4/1.0.0": fib4.build,
    "hospital/1.0.0": hospital.build,
    "kfre/1.0.0": kfre.build,
    "meld3/1.0.0": meld3.build,
    "news2/1.0.0": news2.build,
    "prevent/1.0.0": prevent.build,
}


def write_release(folder: Path, graph: bytes) -> None:
    """Write the graph, then the hashes of every file of the release, sorted by name."""
    (folder / "model.onnx").write_bytes(graph)
    hash_release(folder)


def main(root: Path) -> None:
    """Build all graphs below `root`."""
    for place, build in BUILDS.items():
        write_release(root / place, build(root / place))
        sys.stdout.write(f"{place}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("models"))
