"""Who vouches for a release: an Ed25519 signature over its hashes, by a key that is pinned here or in the configuration.

Hashes alone prove nothing to somebody who may write the folder: whoever changes a file can write its hash anew. The signature covers model,
version and SHA256SUMS, so neither a file nor the whole list can be taken from another release. It stands beside them as one line of
hexadecimal digits; the private key never lies with the releases.
"""

import re
from collections.abc import Collection

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.registry.refusal import FileRefused

SIGNATURE = "SHA256SUMS.sig"
# Public keys of whoever signs the shipped models. A hospital's own models are signed by its own key (`models.trusted_keys`).
SHIPPED_KEYS = frozenset({"0211f206346eadd30c024d7225e2c72f2e71aecb674633cc1db5b1913b846180"})
_LINE = re.compile(rb"[0-9a-f]{128}\n")  # a signature has 64 bytes (RFC 8032 section 5.1)
_DOMAIN = b"clinical-inference-gateway/model-release/v1\n"


def signed_bytes(name: str, version: str, sums: bytes) -> bytes:
    """Return what is signed: the purpose, the release's name and version, and its SHA256SUMS."""
    return _DOMAIN + f"{name}\n{version}\n".encode() + sums


def sign_release(key: Ed25519PrivateKey, name: str, version: str, sums: bytes) -> bytes:
    """Return the content of SHA256SUMS.sig."""
    return key.sign(signed_bytes(name, version, sums)).hex().encode() + b"\n"


def require_signature(name: str, version: str, sums: bytes, signature: bytes | None, trusted: Collection[str]) -> None:
    """Refuse a release that none of the trusted keys (hexadecimal) vouches for.

    Raises:
        FileRefused: there is no signature, it has another form, or no trusted key made it for this release.
    """
    if signature is None:
        raise FileRefused(SIGNATURE, "is missing: the release is not signed")
    if _LINE.fullmatch(signature) is None:
        raise FileRefused(SIGNATURE, "is not one line of 128 hexadecimal digits")
    given, message = bytes.fromhex(signature.decode("ascii")), signed_bytes(name, version, sums)
    if not any(_is_by(key, given, message) for key in trusted):
        raise FileRefused(SIGNATURE, "is by no trusted key, or for another release")


def _is_by(key: str, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, message)
    except InvalidSignature:
        return False
    return True
