"""The key file, and the contract that every KMS adapter keeps."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit import KeyFailure, KeyFileKms, Kms, init_keys


def test_what_was_wrapped_is_unwrapped(kms: Kms) -> None:
    """A key survives wrapping; two wrappings of it differ."""
    key = os.urandom(32)
    first, second = kms.wrap(key, "ring|1"), kms.wrap(key, "ring|1")
    assert first != second
    assert key not in first
    assert kms.unwrap(first, "ring|1") == kms.unwrap(second, "ring|1") == key


def test_a_generated_key_is_fresh(kms: Kms) -> None:
    """Each generated key is new, has 256 bits and does not show itself when printed."""
    one, two = kms.generate("ring|1"), kms.generate("ring|1")
    assert one.plain != two.plain
    assert len(one.plain) == 32
    assert kms.unwrap(one.wrapped, "ring|1") == one.plain
    assert one.plain.hex() not in repr(one)
    assert repr(one.plain) not in repr(one)


def test_another_context_does_not_unwrap(kms: Kms) -> None:
    """A wrapped key is bound to its context."""
    with pytest.raises(KeyFailure):
        kms.unwrap(kms.wrap(b"k" * 32, "ring|1"), "ring|2")


def test_a_changed_byte_does_not_unwrap(kms: Kms) -> None:
    """No byte of a wrapped key can be changed."""
    wrapped = kms.wrap(b"k" * 32, "ring|1")
    for place in range(len(wrapped)):
        changed = wrapped[:place] + bytes([wrapped[place] ^ 1]) + wrapped[place + 1 :]
        with pytest.raises(KeyFailure):
            kms.unwrap(changed, "ring|1")


def test_another_key_file_does_not_unwrap(kms: Kms, tmp_path: Path) -> None:
    """A key wrapped by one file is of no use with another."""
    init_keys(tmp_path / "other.json")
    with pytest.raises(KeyFailure):
        KeyFileKms(tmp_path / "other.json").unwrap(kms.wrap(b"k" * 32, "ring|1"), "ring|1")


def test_a_signature_verifies(kms: KeyFileKms) -> None:
    """The signature is Ed25519 under the public key that the file tells."""
    Ed25519PublicKey.from_public_bytes(kms.public_key).verify(kms.sign(b"message"), b"message")


def test_the_file_is_made_with_mode_0400_and_never_overwritten(tmp_path: Path) -> None:
    """Only the owner may read it, nobody may write it, and a second start does not replace it."""
    path = tmp_path / "keys" / "keys.json"
    init_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    before = path.read_bytes()
    with pytest.raises(KeyFailure, match="never overwritten"):
        init_keys(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o404, 0o444, 0o640, 0o700])
def test_a_file_that_others_can_read_or_anyone_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Every mode but 0400 is refused."""
    path = tmp_path / "keys.json"
    init_keys(path)
    path.chmod(mode)
    with pytest.raises(KeyFailure, match="mode 0400"):
        KeyFileKms(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"not json",
        b'{"v":2,"kek_id":"a","kek":"","signing_seed":""}',
        b'{"v":1,"kek_id":"a","kek":"AAAA","signing_seed":"AAAA"}',
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no key file is named as such, without its content."""
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o400)
    with pytest.raises(KeyFailure, match=r"malformed|newer"):
        KeyFileKms(path)


def test_an_absent_or_linked_file_is_refused(tmp_path: Path) -> None:
    """There is no default key, and a symbolic link is not followed."""
    with pytest.raises(KeyFailure, match="cannot be opened"):
        KeyFileKms(tmp_path / "none.json")
    init_keys(tmp_path / "keys.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "keys.json")
    with pytest.raises(KeyFailure, match="cannot be opened"):
        KeyFileKms(tmp_path / "link.json")


def test_a_file_that_went_away_is_told(kms: KeyFileKms, tmp_path: Path) -> None:
    """Health warns before the next start fails."""
    assert kms.health().usable
    (tmp_path / "keys.json").unlink()
    assert not kms.health().usable
