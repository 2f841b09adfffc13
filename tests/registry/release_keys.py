"""A signing key of the tests' own, for releases that they change on purpose."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.registry import SHIPPED_KEYS

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = SHIPPED_KEYS | {KEY.public_key().public_bytes_raw().hex()}
