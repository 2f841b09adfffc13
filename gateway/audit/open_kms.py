"""Opens the key management service that the configuration names. The SDK of a service is loaded only where it is the one."""

from pathlib import Path

from gateway.audit.kms import KeyFailure, KeyFileKms, Kms, init_keys
from gateway.audit.sealed_signer import make_signer
from gateway.config import Settings


def open_kms(settings: Settings) -> Kms:
    """Return the service, with its signing key.

    Raises:
        KeyFailure: it cannot be used, the extra with its SDK is not installed, or a signing key was never made.
    """
    kms = settings.kms
    try:
        if kms.provider == "aws":
            from gateway.audit.kms_aws import AwsKms  # noqa: PLC0415 - an extra

            return AwsKms(kms.aws_key, Path(kms.signing_file), region=kms.aws_region, endpoint=kms.aws_endpoint)
        if kms.provider == "pkcs11":
            from gateway.audit.kms_pkcs11 import Pkcs11Kms, read_pin  # noqa: PLC0415 - an extra

            pin = read_pin(Path(kms.pkcs11_pin_file))
            return Pkcs11Kms(Path(kms.pkcs11_module), kms.pkcs11_token, kms.pkcs11_key, pin, Path(kms.signing_file))
    except ImportError as error:
        raise KeyFailure(f"the extra `{kms.provider}` is not installed") from error
    return KeyFileKms(Path(settings.audit.key_file))


def make_keys(settings: Settings) -> None:
    """Make what the service needs once: the key file, or the signing key sealed under the service's key. Never overwrites.

    Raises:
        KeyFailure: it exists, cannot be written, or the service refuses.
    """
    kms = settings.kms
    try:
        if kms.provider == "aws":
            from gateway.audit.kms_aws import AwsKms  # noqa: PLC0415 - an extra

            make_signer(Path(kms.signing_file), AwsKms(kms.aws_key, None, region=kms.aws_region, endpoint=kms.aws_endpoint).wrap)
        elif kms.provider == "pkcs11":
            from gateway.audit.kms_pkcs11 import Pkcs11Kms, read_pin  # noqa: PLC0415 - an extra

            pin = read_pin(Path(kms.pkcs11_pin_file))
            token = Pkcs11Kms(Path(kms.pkcs11_module), kms.pkcs11_token, kms.pkcs11_key, pin, None)
            make_signer(Path(kms.signing_file), token.wrap)
        else:
            init_keys(Path(settings.audit.key_file))
    except ImportError as error:
        raise KeyFailure(f"the extra `{kms.provider}` is not installed") from error
