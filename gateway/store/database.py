"""Opening a database: refuse a bad place, bring the schema up to date, hand out connections."""

import fcntl
import importlib.resources
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from gateway.store.log_table import LogConnection
from gateway.store.placement import network_file_system_of

HEAD_REVISION = "0001"  # a test compares it with the newest migration
BUSY_TIMEOUT_MS = 1_000
STATEMENT_CACHE = 512  # the hot path has one statement per batch size


class StoreError(Exception):
    """The database cannot be used as it is; the text says why and holds no PHI."""


class Database:
    """One SQLite file whose schema is current. SQLAlchemy Core for everything but the log's hot path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
        sa.event.listen(self.engine, "connect", _set_pragmas)

    def connect_log(self) -> LogConnection:
        """Open a connection of the stdlib driver for one thread: the log's writer or reader. Never creates the file.

        Raises:
            sqlite3.Error: the file is absent or cannot be opened.
        """
        return LogConnection(connect(self.path))

    def dispose(self) -> None:
        """Let go of the engine."""
        self.engine.dispose()


def open_database(path: Path, *, create: bool = True) -> Database:
    """Open the file, create it if asked, and migrate it.

    Raises:
        StoreError: the file lies on a network file system, is absent, cannot be opened, or was written by a newer version.
    """
    path = path.absolute()
    kind = network_file_system_of(path.parent)
    if kind:
        raise StoreError(f"the database may not lie on a network file system ({kind}): SQLite's locks do not hold there")
    if not create and not path.is_file():
        raise StoreError("there is no database at the configured path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
        with _migration_lock(path):
            _migrate(path)
    except (OSError, sqlite3.Error, sa.exc.SQLAlchemyError) as error:
        raise StoreError(f"the database cannot be opened ({type(error).__name__})") from error
    return Database(path)


def connect(path: Path) -> sqlite3.Connection:
    """Open one stdlib connection in autocommit mode with the durability that the log needs.

    Raises:
        sqlite3.Error: the file cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_MS / 1000,
        cached_statements=STATEMENT_CACHE,
        check_same_thread=False,  # made by who opens the log, then used by its one thread
    )
    try:
        _set_pragmas(connection, None)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    # FULL, not NORMAL: NORMAL survives a kill but loses the last commits on a power cut (sqlite.org/pragma.html#pragma_synchronous).
    # Checkpoints are ours (autocheckpoint 0): at a commit they cost the p99. temp_store keeps temporary data off the disk.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=0",
        "temp_store=MEMORY",
        "secure_delete=ON",
        "foreign_keys=ON",
        "recursive_triggers=ON",  # without it INSERT OR REPLACE deletes a row without asking the trigger that refuses deletions
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _make_private(path: Path) -> None:
    """Create the file readable by its owner only; SQLite gives -wal and -shm the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


@contextmanager
def _migration_lock(path: Path) -> Iterator[None]:
    """Let one process at a time look at the schema, so that two that start together do not both migrate."""
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _revision_of(path: Path) -> str | None:
    connection = connect(path)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None
    finally:
        connection.close()


def _migrate(path: Path) -> None:
    revision = _revision_of(path)
    if revision == HEAD_REVISION:
        return
    if revision is not None and revision > HEAD_REVISION:
        raise StoreError(f"the database was written by a newer version (schema {revision}, this program knows {HEAD_REVISION})")
    from alembic import command  # noqa: PLC0415 - a fifth of a second to import, and needed only when the schema moves
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(importlib.resources.files("gateway.store") / "migrations"))
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    sa.event.listen(engine, "connect", _set_pragmas)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
