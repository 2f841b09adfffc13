"""Real counterparts of the KMS adapters: moto's AWS KMS in an environment and a process of its own, and a SoftHSM2 token in a folder."""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

MOTO = "moto[server,kms]==5.2.5"
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
TOKEN, KEY, PIN = "gateway", "kek", "2468"
READY_S_MAX = 60


class ServerMissing(Exception):
    """The counterpart cannot run here; the message says what is missing."""


def moto_environment():
    """Return the interpreter of an environment with moto, made once in the tests' cache folder."""
    cache = Path(os.environ.get("GATEWAY_TEST_CACHE") or Path.home() / ".cache" / "gateway-tests")
    folder = cache / f"moto-{MOTO.rpartition('==')[2]}-{sys.version_info.major}.{sys.version_info.minor}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "moto.lock").open("w") as lock:  # two test runs may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
                pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MOTO]
                subprocess.run(pip, check=True, capture_output=True, timeout=300)
            except (subprocess.SubprocessError, OSError) as error:
                raise ServerMissing(f"moto cannot be installed: {type(error).__name__}") from error
            (folder / "ready").touch()
    return folder / "bin" / "python"


@contextlib.contextmanager
def moto_server():
    """Run moto's server and yield its address."""
    python = moto_environment()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, f"{address}/moto-api/")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(process, url):
    until = time.monotonic() + READY_S_MAX
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ServerMissing("moto's server ended at once")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise ServerMissing("moto's server did not get ready")


def make_token(folder):
    """Make a SoftHSM2 token with an AES key that cannot be read out; return its library. Sets SOFTHSM2_CONF for this process."""
    if not SOFTHSM.exists() or shutil.which("softhsm2-util") is None:
        raise ServerMissing("softhsm2 is not installed")
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir={folder / 'tokens'}\nobjectstore.backend=file\nlog.level=ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    made = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--so-pin", "12345678", "--pin", PIN]
    subprocess.run(made, check=True, capture_output=True)
    return SOFTHSM
