"""The door to the database: where it may lie, what it keeps, what it refuses."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.store import Database, StoreError, open_database
from gateway.store import placement as placement_module
from gateway.store.database import HEAD_REVISION
from gateway.store.placement import NETWORK_FILE_SYSTEMS, file_system_of
from gateway.store.schema import APPEND_ONLY_TABLES, metadata

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Return an open database in a folder of its own."""
    return open_database(tmp_path / "deep" / "audit.db")


def test_the_pragmas_are_those_of_a_durable_log(database: Database) -> None:
    """Write-ahead log, sync at every commit, nothing temporary on disk; for the driver and for SQLAlchemy alike."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "temp_store": 2, "secure_delete": 1, "foreign_keys": 1}
    raw = database.connect_log().raw
    assert {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted
    raw.close()
    with database.engine.connect() as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted} == wanted


def test_the_migrations_and_the_schema_say_the_same(database: Database) -> None:
    """Alembic finds no difference between what the steps made and the tables that the code uses."""
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_known_revision_is_the_newest() -> None:
    """The revision that lets a start skip Alembic is that of the newest step."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "gateway" / "store" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD_REVISION


@pytest.mark.parametrize("table", APPEND_ONLY_TABLES)
def test_the_log_is_append_only_in_the_database_itself(database: Database, table: str) -> None:
    """UPDATE and DELETE are refused by triggers, whoever asks; INSERT OR REPLACE too."""
    raw = database.connect_log().raw
    columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
    raw.execute(f"INSERT INTO {table} VALUES ({','.join('1' * len(columns))})")
    for statement in (f"UPDATE {table} SET {columns[-1]} = 2", f"DELETE FROM {table}"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw.execute(statement)
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute(f"INSERT OR REPLACE INTO {table} VALUES ({','.join('1' * len(columns))})")
    assert raw.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
    raw.close()


def test_the_files_are_private(database: Database) -> None:
    """Database, write-ahead log and shared memory can be read by the owner only."""
    connection = database.connect_log()
    connection.raw.execute("CREATE TABLE t (a)")
    files = list(database.path.parent.iterdir())
    assert {path.name for path in files} >= {database.path.name + ending for ending in ("", "-wal", "-shm")}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    connection.close()


def test_opening_again_keeps_what_is_there(database: Database) -> None:
    """A second opening migrates nothing and loses nothing."""
    connection = database.connect_log()
    connection.create_head("log-1", "now")
    connection.close()
    again = open_database(database.path).connect_log()
    head = again.load_head()
    again.close()
    assert head is not None
    assert head.log_id == "log-1"


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    """An older program does not touch what it does not know."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version"):
        open_database(database.path)


def test_an_absent_database_is_not_made_when_not_asked(tmp_path: Path) -> None:
    """Who only wants to read does not create a file."""
    with pytest.raises(StoreError, match="no database"):
        open_database(tmp_path / "none.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_garbage_is_refused(tmp_path: Path) -> None:
    """A file that is no database is refused without its content in the text."""
    path = tmp_path / "audit.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_database(path)


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    """Four processes open a new database at once and all succeed."""
    path = tmp_path / "audit.db"
    code = f"from pathlib import Path; from gateway.store import open_database; open_database(Path({str(path)!r}))"
    processes = [subprocess.Popen([sys.executable, "-W", "error", "-c", code], cwd=ROOT) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]


MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:25 / /data rw,nosuid - nfs4 server:/export rw
31 30 0:26 / /data/local rw - xfs /dev/sdb rw
32 22 0:27 / /with\\040space rw - cifs //server/share rw
33 22 0:28 / /dat rw - tmpfs tmpfs rw
malformed line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/audit.db", "nfs4"),
        ("/data/deep/er/audit.db", "nfs4"),
        ("/data/local/audit.db", "xfs"),
        ("/database/audit.db", "ext4"),
        ("/dat/audit.db", "tmpfs"),
        ("/with space/audit.db", "cifs"),
        ("/home/audit.db", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    """The longest mount point above the path decides."""
    assert file_system_of(Path(path), MOUNTS) == kind


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is not even created there."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - ext4 /dev/root rw\n2 1 0:2 / {tmp_path.resolve()} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(placement_module, "MOUNT_TABLE", table)
    with pytest.raises(StoreError, match="nfs4"):
        open_database(tmp_path / "audit.db")
    assert not (tmp_path / "audit.db").exists()
    assert "nfs4" in NETWORK_FILE_SYSTEMS


def test_the_wal_does_not_grow_without_end(tmp_path: Path) -> None:
    """A checkpoint of ours lets the write-ahead log start again from its beginning."""
    database = open_database(tmp_path / "audit.db")
    connection = database.connect_log()
    sizes = []
    for turn in range(4):
        for number in range(50):
            connection.begin()
            connection.insert_payloads([(turn * 50 + number, b"x" * 4000)])
            connection.commit()
        connection.checkpoint_wal()
        sizes.append((tmp_path / "audit.db-wal").stat().st_size)
    connection.close()
    assert sizes[-1] <= sizes[0] * 1.5
