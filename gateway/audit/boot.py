"""Which processes that opened the log are still alive: each holds a lock on a file of its own, which the kernel lets go when it dies."""

import fcntl
import os
import secrets
from pathlib import Path


class BootLock:
    """This process's sign of life beside the database."""

    def __init__(self, directory: Path, boot_id: str | None = None) -> None:
        """Create the file and lock it.

        Raises:
            OSError: the directory cannot be written.
        """
        directory.mkdir(mode=0o700, exist_ok=True)
        self.boot_id = boot_id or secrets.token_hex(8)
        self._path = directory / self.boot_id
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Let go of the lock and remove the file."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def boot_directory(database: Path) -> Path:
    """Return where the signs of life of a database's processes lie."""
    return database.with_name(database.name + ".boots")


def is_alive(directory: Path, boot_id: str) -> bool:
    """Tell whether the process still holds its lock."""
    try:
        handle = os.open(directory / boot_id, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def forget_dead(directory: Path, boot_id: str) -> None:
    """Remove the file of a process that is gone."""
    (directory / boot_id).unlink(missing_ok=True)
