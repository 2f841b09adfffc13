"""The key management service holds the key that wraps all others: a port of five methods, and the key file as first adapter."""

import base64
import os
import secrets
import stat
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_FILE_MODE = 0o400
KEY_FILE_BYTES_MAX = 4096
_WRAP_FORMAT = b"\x01"


class KeyFailure(Exception):
    """A key could not be had or does not fit; the text holds no secret and no PHI."""


class KmsHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service can be used, and why not."""

    usable: bool
    reason: str = ""


class GeneratedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh 256-bit key, in clear and wrapped."""

    plain: bytes
    wrapped: bytes

    def __repr__(self) -> str:
        return "GeneratedKey(...)"


class Kms(Protocol):
    """Wraps keys and signs. `context` is bound to the wrapped key and holds no PHI (it reaches the service's own log).

    Every method but `health` raises `KeyFailure`. `remote`: asking it may take seconds, so never on the event loop.
    """

    @property
    def remote(self) -> bool:
        """Tell whether the service is another process or machine."""
        ...

    @property
    def kek_id(self) -> str:
        """Return which wrapping key is current."""
        ...

    @property
    def public_key(self) -> bytes:
        """Return the 32 bytes of the Ed25519 public key."""
        ...

    def generate(self, context: str) -> GeneratedKey:
        """Return a new key."""
        ...

    def wrap(self, key: bytes, context: str) -> bytes:
        """Encrypt a key."""
        ...

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Decrypt a key that was wrapped under the same context."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature (RFC 8032)."""
        ...

    def health(self) -> KmsHealth:
        """Tell whether the service can be used now."""
        ...


class _KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int
    kek_id: str
    kek: str  # base64 of 32 bytes
    signing_seed: str  # base64 of 32 bytes, Ed25519


class KeyFileKms:
    """Keys in one file of mode 0400, read once. For one host; the file belongs on another device than the database."""

    remote = False

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            KeyFailure: absent, readable by others, or malformed.
        """
        content = _load_key_file(path)
        kek, seed = _decode_key(content.kek), _decode_key(content.signing_seed)
        self._kek_id = content.kek_id
        self._kek = AESGCM(kek)
        self._signer = Ed25519PrivateKey.from_private_bytes(seed)
        self._path = path

    @property
    def kek_id(self) -> str:
        """Return which wrapping key is current."""
        return self._kek_id

    @property
    def public_key(self) -> bytes:
        """Return the 32 bytes of the Ed25519 public key."""
        return self._signer.public_key().public_bytes_raw()

    def generate(self, context: str) -> GeneratedKey:
        """Return a new key."""
        plain = secrets.token_bytes(KEY_BYTES)
        return GeneratedKey(plain=plain, wrapped=self.wrap(plain, context))

    def wrap(self, key: bytes, context: str) -> bytes:
        """Encrypt a key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _WRAP_FORMAT + nonce + self._kek.encrypt(nonce, key, self._aad(context))

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Decrypt a key that was wrapped under the same context.

        Raises:
            KeyFailure: another key, another context, or changed bytes.
        """
        if wrapped[:1] != _WRAP_FORMAT:
            raise KeyFailure("a wrapped key has an unknown form")
        try:
            return self._kek.decrypt(wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :], self._aad(context))
        except (InvalidTag, ValueError) as error:
            raise KeyFailure("a key was wrapped by another key file, or was changed") from error

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature."""
        return self._signer.sign(message)

    def health(self) -> KmsHealth:
        """Tell whether the file is still there; the keys themselves are in memory."""
        if not self._path.is_file():
            return KmsHealth(usable=False, reason="the key file is gone: the next start will fail")
        return KmsHealth(usable=True)

    def _aad(self, context: str) -> bytes:
        return f"gw-audit/v1/kek|{self._kek_id}|{context}".encode()


def init_keys(path: Path) -> None:
    """Create a key file with fresh keys, mode 0400, synced to disk. Never overwrites.

    Raises:
        KeyFailure: the file exists or cannot be written.
    """
    content = _KeyFile(
        v=1,
        kek_id="file-" + secrets.token_hex(8),
        kek=base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(),
        signing_seed=base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(),
    )
    write_once(path, msgspec.json.encode(content))


def write_once(path: Path, content: bytes) -> None:
    """Write a file of mode 0400 and make it durable. Never overwrites.

    Raises:
        KeyFailure: it exists or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, KEY_FILE_MODE)
        try:
            os.write(handle, content)
            os.fchmod(handle, KEY_FILE_MODE)
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_directory(path.parent)
    except FileExistsError as error:
        raise KeyFailure("the key file exists already; it is never overwritten") from error
    except OSError as error:
        raise KeyFailure(f"the key file cannot be written ({error.strerror})") from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _load_key_file(path: Path) -> _KeyFile:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFailure(f"the key file cannot be opened ({error.strerror})") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != KEY_FILE_MODE:
            raise KeyFailure("the key file must be a regular file of mode 0400")
        if status.st_uid not in {os.geteuid(), 0}:
            raise KeyFailure("the key file must belong to the user that runs the gateway")
        raw = os.read(handle, KEY_FILE_BYTES_MAX)
    finally:
        os.close(handle)
    try:
        content = msgspec.json.decode(raw, type=_KeyFile)
    except msgspec.DecodeError as error:
        raise KeyFailure("the key file is malformed") from error
    if content.v != 1:
        raise KeyFailure("the key file was written by a newer version")
    return content


def _decode_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise KeyFailure("the key file is malformed") from error
    if len(key) != KEY_BYTES:
        raise KeyFailure("the key file is malformed")
    return key
