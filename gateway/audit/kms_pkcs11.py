"""A hardware security module by PKCS#11 as the place of the wrapping key (extra `pkcs11`): the key never leaves the token.

Keys are wrapped by AES-GCM on the token, with the context as additional authenticated data (PKCS #11 v3.0, CKM_AES_GCM). The nonce is
random: a handful of ring keys are wrapped in a lifetime, far from the 2^32 that one key allows (NIST SP 800-38D 8.3).
"""

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11.exceptions import PKCS11Error

from gateway.audit.kms import KEY_BYTES, NONCE_BYTES, GeneratedKey, KeyFailure, KmsHealth
from gateway.audit.sealed_signer import load_signer, require_signer

TAG_BITS = 128
PIN_BYTES_MAX = 256
_FORMAT = b"\x03"
_Answer = TypeVar("_Answer")


class Pkcs11Kms:
    """One AES key of a token, and the signing key sealed under it. The log-in belongs to the process; calls are made one at a time."""

    remote = True

    def __init__(self, module: Path, token_label: str, key_label: str, pin: str, signing_file: Path | None) -> None:
        """Log in, find the key and unseal the signing key; `signing_file` None leaves the signing key away, for making it.

        Raises:
            KeyFailure: the module, the token or the key is not there, the PIN is wrong, or the sealed signing key does not fit.
        """
        self._lock = threading.Lock()
        self._kek_id = f"pkcs11:token={token_label};object={key_label}"
        try:
            token = pkcs11.lib(os.fspath(module)).get_token(token_label=token_label)
            self._session = _open(token, pin)
            self._key: Any = self._session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=key_label)
        except (PKCS11Error, RuntimeError) as error:
            raise KeyFailure(f"the key on the token cannot be used: {type(error).__name__}") from error
        self._signer = load_signer(signing_file, self.unwrap) if signing_file is not None else None

    @property
    def kek_id(self) -> str:
        """Return token and label of the key (RFC 7512)."""
        return self._kek_id

    @property
    def public_key(self) -> bytes:
        """Return the 32 bytes of the Ed25519 public key.

        Raises:
            KeyFailure: there is no signing key.
        """
        return require_signer(self._signer).public_key().public_bytes_raw()

    def generate(self, context: str) -> GeneratedKey:
        """Return a new key."""
        plain = secrets.token_bytes(KEY_BYTES)
        return GeneratedKey(plain=plain, wrapped=self.wrap(plain, context))

    def wrap(self, key: bytes, context: str) -> bytes:
        """Encrypt a key on the token."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _FORMAT + nonce + self._ask(lambda: bytes(self._key.encrypt(key, **_gcm(nonce, context))))

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Decrypt a key that was wrapped under the same context.

        Raises:
            KeyFailure: another key, another context or changed bytes, or the token does not answer.
        """
        if wrapped[:1] != _FORMAT:
            raise KeyFailure("a wrapped key has an unknown form")
        nonce, sealed = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
        return self._ask(lambda: bytes(self._key.decrypt(sealed, **_gcm(nonce, context))))

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature.

        Raises:
            KeyFailure: there is no signing key.
        """
        return require_signer(self._signer).sign(message)

    def health(self) -> KmsHealth:
        """Wrap and unwrap a fresh key on the token."""
        try:
            key = secrets.token_bytes(KEY_BYTES)
            whole = self.unwrap(self.wrap(key, "health"), "health") == key
        except KeyFailure as failure:
            return KmsHealth(usable=False, reason=str(failure))
        return KmsHealth(usable=whole, reason="" if whole else "the token gave another key back")

    def close(self) -> None:
        """Log out."""
        with self._lock:
            self._session.close()

    def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Call the token. A wrong context and a changed byte both come as a bare GeneralError; its texts say no more."""
        try:
            with self._lock:
                return call()
        except (PKCS11Error, ValueError) as error:
            raise KeyFailure(f"the token refused: {type(error).__name__}") from error


def read_pin(path: Path) -> str:
    """Return the PIN of a token from a file that only its owner may read.

    Raises:
        KeyFailure: the file is absent, empty or readable by others.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise KeyFailure("the PIN file is readable by others: mode 0400 is needed")
        pin = path.read_bytes()[:PIN_BYTES_MAX].decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFailure("the PIN file cannot be read") from error
    if not pin:
        raise KeyFailure("the PIN file is empty")
    return pin


def _open(token: Any, pin: str) -> Any:  # noqa: ANN401 - the package ships no types
    """Open a session: log-in is per process, so a second session needs no PIN."""
    try:
        return token.open(user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open()


def _gcm(nonce: bytes, context: str) -> dict[str, object]:
    return {
        "mechanism": pkcs11.Mechanism.AES_GCM,
        "mechanism_param": pkcs11.GCMParams(nonce, context.encode(), tag_bits=TAG_BITS),
    }
