"""AWS KMS as the place of the wrapping key (extra `aws`): the key never leaves the service.

A wrapped key is bound to its context by the service's own encryption context (AWS KMS, "Encryption context"), and names the key it lies
under; decryption names that key again, so a key of somebody else's is never used. Credentials come from where the SDK finds them on the
host (instance role, web identity, file), never from our configuration.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from gateway.audit.kms import KEY_BYTES, GeneratedKey, KeyFailure, KmsHealth
from gateway.audit.sealed_signer import load_signer, require_signer

WAIT_S_MAX = 1.0  # per attempt, connecting and reading each
ATTEMPTS_MAX = 3
USABLE_STATE = "Enabled"
CONTEXT_NAME = "gateway-audit"
_FORMAT = b"\x02"
NOT_AN_ANSWER = "AWS KMS gave something that is no answer"


class AwsKms:
    """One symmetric key of AWS KMS, and the signing key sealed under it."""

    remote = True

    def __init__(self, key_id: str, signing_file: Path | None, *, region: str = "", endpoint: str = "") -> None:
        """Ask for the key and unseal the signing key; `signing_file` None leaves the signing key away, for making it.

        Raises:
            KeyFailure: the service cannot be reached, the key is unknown or not enabled, or the sealed signing key does not fit.
        """
        self._client = _client(region, endpoint)
        self._key_id = key_id
        self._arn = self._describe()["Arn"]
        health = self.health()
        if not health.usable:
            raise KeyFailure(health.reason)
        self._signer = load_signer(signing_file, self.unwrap) if signing_file is not None else None

    @property
    def kek_id(self) -> str:
        """Return the key's ARN."""
        return str(self._arn)

    @property
    def public_key(self) -> bytes:
        """Return the 32 bytes of the Ed25519 public key.

        Raises:
            KeyFailure: there is no signing key.
        """
        return require_signer(self._signer).public_key().public_bytes_raw()

    def generate(self, context: str) -> GeneratedKey:
        """Return a new key, made by the service."""
        answer = self._ask(
            lambda: self._client.generate_data_key(KeyId=self._arn, NumberOfBytes=KEY_BYTES, EncryptionContext=_context(context))
        )
        plain = _bytes(answer, "Plaintext")
        if len(plain) != KEY_BYTES:
            raise KeyFailure("AWS KMS gave a key of another length")
        return GeneratedKey(plain=plain, wrapped=_FORMAT + _bytes(answer, "CiphertextBlob"))

    def wrap(self, key: bytes, context: str) -> bytes:
        """Encrypt a key."""
        answer = self._ask(lambda: self._client.encrypt(KeyId=self._arn, Plaintext=key, EncryptionContext=_context(context)))
        return _FORMAT + _bytes(answer, "CiphertextBlob")

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Decrypt a key that was wrapped under the same context.

        Raises:
            KeyFailure: another key, another context, changed bytes, or the service refuses or does not answer.
        """
        if wrapped[:1] != _FORMAT:
            raise KeyFailure("a wrapped key has an unknown form")
        answer = self._ask(lambda: self._client.decrypt(KeyId=self._arn, CiphertextBlob=wrapped[1:], EncryptionContext=_context(context)))
        return _bytes(answer, "Plaintext")

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature.

        Raises:
            KeyFailure: there is no signing key.
        """
        return require_signer(self._signer).sign(message)

    def health(self) -> KmsHealth:
        """Ask the service for the key's state: one that is disabled or waits for deletion is not usable, whatever else still works."""
        try:
            state = self._describe()["KeyState"]
        except KeyFailure as failure:
            return KmsHealth(usable=False, reason=str(failure))
        return KmsHealth(usable=True) if state == USABLE_STATE else KmsHealth(usable=False, reason=f"the key in AWS KMS is {state}")

    def _describe(self) -> dict[str, Any]:
        answer = self._ask(lambda: self._client.describe_key(KeyId=self._key_id))
        metadata = answer.get("KeyMetadata")
        if not isinstance(metadata, dict) or not {"Arn", "KeyState"} <= metadata.keys():
            raise KeyFailure(NOT_AN_ANSWER)
        return metadata

    def _ask(self, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Call the service; its texts name accounts and are not passed on, its codes are."""
        try:
            return call()
        except botocore.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            raise KeyFailure(f"AWS KMS refused: {code}") from error
        except botocore.exceptions.BotoCoreError as error:
            raise KeyFailure(f"AWS KMS cannot be asked: {type(error).__name__}") from error


def _client(region: str, endpoint: str) -> Any:  # noqa: ANN401 - the SDK makes its clients at run time
    config = botocore.config.Config(
        connect_timeout=WAIT_S_MAX, read_timeout=WAIT_S_MAX, retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX}
    )
    try:
        return boto3.client("kms", region_name=region or None, endpoint_url=endpoint or None, config=config)
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise KeyFailure(f"AWS KMS cannot be asked: {type(error).__name__}") from error


def _bytes(answer: dict[str, Any], name: str) -> bytes:
    found = answer.get(name)
    if not isinstance(found, bytes) or not found:
        raise KeyFailure(NOT_AN_ANSWER)
    return found


def _context(context: str) -> dict[str, str]:
    return {CONTEXT_NAME: context}
