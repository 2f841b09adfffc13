"""Real counterparts of the KMS adapters: moto's AWS KMS in an environment and a process of its own, and a SoftHSM2 token in a folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tool_environment import ServerMissing, tool_environment

MOTO = "moto[server,kms]==5.2.5"
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
TOKEN, KEY, PIN = "gateway", "kek", "2468"
READY_S_MAX = 60


@contextlib.contextmanager
def moto_server():
    """Run moto's server and yield its address."""
    python = tool_environment("moto", MOTO)
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
