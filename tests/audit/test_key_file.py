"""The key file itself; the contract of all adapters is in test_kms_contract.py."""

import stat
from pathlib import Path

import pytest

from gateway.audit import KeyFailure, KeyFileKms, init_keys


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
