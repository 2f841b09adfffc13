"""Environments of their own for other people's servers, made once in the tests' cache folder."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_S_MAX = 500


class ServerMissing(Exception):
    """The server cannot run here; the message says what is missing."""


def tool_environment(name: str, *packages: str) -> Path:
    """Return the interpreter of an environment with the packages.

    Raises:
        ServerMissing: it cannot be made here.
    """
    cache = Path(os.environ.get("GATEWAY_TEST_CACHE") or Path.home() / ".cache" / "gateway-tests")
    wanted = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    folder = cache / f"{name}-{wanted}-{sys.version_info.major}.{sys.version_info.minor}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:  # two test runs may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
                pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
                subprocess.run(pip, check=True, capture_output=True, timeout=INSTALL_S_MAX)
            except (subprocess.SubprocessError, OSError) as error:
                raise ServerMissing(f"{name} cannot be installed: {type(error).__name__}") from error
            (folder / "ready").touch()
    return folder / "bin" / "python"
