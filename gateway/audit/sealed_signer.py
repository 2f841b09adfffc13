"""The signing key of a log whose wrapping key lives in a key management service.

Few services sign with Ed25519, and none should be asked for each signed tree head. So the seed is made once, wrapped by the service under
a context of its own, and kept in a file; it is unwrapped once per start and lives in memory. Whoever takes the file has nothing without
the service.
"""

import base64
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.kms import KEY_BYTES, KEY_FILE_BYTES_MAX, KeyFailure, write_once

CONTEXT = "signing-seed"
Wrap = Callable[[bytes, str], bytes]


class _SealedSeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int
    public_key: str  # base64 of 32 bytes
    wrapped_seed: str  # base64, as the service gave it


def load_signer(path: Path, unwrap: Wrap) -> Ed25519PrivateKey:
    """Return the signing key of a file.

    Raises:
        KeyFailure: the file is absent or malformed, the service refuses, or the key is not the one whose public part stands beside it.
    """
    try:
        content = msgspec.json.decode(path.read_bytes()[:KEY_FILE_BYTES_MAX], type=_SealedSeed)
        wrapped, public = base64.b64decode(content.wrapped_seed, validate=True), base64.b64decode(content.public_key, validate=True)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise KeyFailure("the file with the sealed signing key cannot be read") from error
    seed = unwrap(wrapped, CONTEXT)
    if content.v != 1 or len(seed) != KEY_BYTES:
        raise KeyFailure("the file with the sealed signing key has an unknown form")
    signer = Ed25519PrivateKey.from_private_bytes(seed)
    if signer.public_key().public_bytes_raw() != public:
        raise KeyFailure("the sealed signing key is not the one that the file names")
    return signer


def require_signer(signer: Ed25519PrivateKey | None) -> Ed25519PrivateKey:
    """Return the signing key of a service that was opened with one.

    Raises:
        KeyFailure: it was opened to make one.
    """
    if signer is None:
        raise KeyFailure("there is no signing key yet")
    return signer


def make_signer(path: Path, wrap: Wrap) -> None:
    """Create the file with a fresh key, mode 0400, synced to disk. Never overwrites.

    Raises:
        KeyFailure: the file exists, cannot be written, or the service refuses.
    """
    seed = secrets.token_bytes(KEY_BYTES)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    content = _SealedSeed(v=1, public_key=base64.b64encode(public).decode(), wrapped_seed=base64.b64encode(wrap(seed, CONTEXT)).decode())
    write_once(path, msgspec.json.encode(content))
