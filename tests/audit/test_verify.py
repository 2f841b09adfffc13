"""Verifying finds whatever was done to a stored log, and where."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.audit import AuditLog, KeyFileKms, ProblemKind, RecordDraft, VerifyReport, verify_log
from gateway.store.schema import APPEND_ONLY_TABLES

DraftMaker = Callable[..., RecordDraft]


def write(database: Path, kms: KeyFileKms, make_draft: DraftMaker, count: int) -> None:
    log = AuditLog.open(database, kms)

    async def run() -> None:
        for start in range(0, count, 32):
            await log.append([make_draft(number=number, payload=b"x" * 20) for number in range(start, min(start + 32, count))])

    asyncio.run(run())
    log.close()


@pytest.fixture
def tampered(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> Iterator[Callable[[int], sqlite3.Connection]]:
    """Return a way to write a log of a size and to get at its tables as somebody with the file would, triggers gone."""
    opened: list[sqlite3.Connection] = []

    def open_log(count: int) -> sqlite3.Connection:
        write(database, kms, make_draft, count)
        connection = sqlite3.connect(database, isolation_level=None)
        for table in APPEND_ONLY_TABLES:
            for verb in ("update", "delete"):
                connection.execute(f"DROP TRIGGER {table}_refuses_{verb}")
        opened.append(connection)
        return connection

    yield open_log
    for connection in opened:
        connection.close()


def places(report: VerifyReport) -> set[tuple[str, int, int]]:
    return {(problem.kind.value, problem.first, problem.last) for problem in report.problems}


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257, 600])
def test_an_untouched_log_is_valid(tampered: Callable[[int], sqlite3.Connection], database: Path, kms: KeyFileKms, count: int) -> None:
    """Whatever its size, a log that nobody touched has no finding, with keys and without; its tail is not yet signed."""
    tampered(count)
    for keys in (None, kms):
        report = verify_log(database, keys)
        assert report.valid, report.problems
        assert report.size == report.records == count
        assert report.payloads_opened == (count if keys else 0)
        assert report.unsigned_from == (0 if count else None)


def test_every_byte_of_a_small_log_counts(tampered: Callable[[int], sqlite3.Connection], database: Path) -> None:
    """Flip each byte of each header, payload and leaf hash, and of the head: each is found, in a record at that record."""
    connection = tampered(3)
    flips = 0
    for table, column in (("log_record", "header"), ("log_record", "leaf_hash"), ("log_payload", "payload")):
        for index, value in connection.execute(f"SELECT idx, {column} FROM {table}").fetchall():
            for place in range(len(value)):
                changed = value[:place] + bytes([value[place] ^ (1 << place % 8)]) + value[place + 1 :]
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE idx = ?", (changed, index))
                found = places(verify_log(database))
                assert ("modified", index, index) in found, (table, column, index, place)
                flips += 1
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE idx = ?", (value, index))
    for column in ("root", "peaks", "log_id"):
        (value,) = connection.execute(f"SELECT {column} FROM log_head").fetchone()
        raw = value.encode() if isinstance(value, str) else value
        for place in range(len(raw)):
            changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
            connection.execute(f"UPDATE log_head SET {column} = ?", (changed.decode() if column == "log_id" else changed,))
            assert not verify_log(database).valid, (column, place)
            flips += 1
        connection.execute(f"UPDATE log_head SET {column} = ?", (value,))
    assert verify_log(database).valid
    assert flips > 2000


Tamper = Callable[[sqlite3.Connection], None]


def run_all(*statements: str) -> Tamper:
    def tamper(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    return tamper


def swap_records(one: int, two: int) -> Tamper:
    """Swap two records with everything that belongs to them, so that each is whole."""
    return run_all(
        *(
            statement
            for table in ("log_record", "log_payload")
            for statement in (
                f"UPDATE {table} SET idx = -1 WHERE idx = {one}",
                f"UPDATE {table} SET idx = {one} WHERE idx = {two}",
                f"UPDATE {table} SET idx = {two} WHERE idx = -1",
            )
        )
    )


def forge(index: int) -> Tamper:
    """Change a header and its stored leaf hash together."""
    from gateway.audit.merkle import hash_leaf  # noqa: PLC0415 - only the forger needs it

    def tamper(connection: sqlite3.Connection) -> None:
        (header,) = connection.execute("SELECT header FROM log_record WHERE idx = ?", (index,)).fetchone()
        forged = header.replace(b'"outcome":"success"', b'"outcome":"failure"')
        assert forged != header
        connection.execute("UPDATE log_record SET header = ?, leaf_hash = ? WHERE idx = ?", (forged, hash_leaf(forged), index))

    return tamper


CASES: list[tuple[str, Tamper, tuple[str, int, int]]] = [
    ("a record deleted in the middle", run_all("DELETE FROM log_record WHERE idx = 300"), ("gap", 300, 300)),
    ("several records deleted in the middle", run_all("DELETE FROM log_record WHERE idx BETWEEN 10 AND 19"), ("gap", 10, 19)),
    ("the first record deleted", run_all("DELETE FROM log_record WHERE idx = 0"), ("gap", 0, 0)),
    ("the last records deleted", run_all("DELETE FROM log_record WHERE idx >= 590"), ("missing", 590, 599)),
    ("all records deleted", run_all("DELETE FROM log_record"), ("missing", 0, 599)),
    ("a payload deleted", run_all("DELETE FROM log_payload WHERE idx = 5"), ("missing", 5, 5)),
    ("payloads swapped", run_all(
        "UPDATE log_payload SET idx = -1 WHERE idx = 7",
        "UPDATE log_payload SET idx = 7 WHERE idx = 8",
        "UPDATE log_payload SET idx = 8 WHERE idx = -1",
    ), ("modified", 7, 7)),
    ("records swapped in a full tile", swap_records(100, 200), ("reordered", 100, 200)),
    ("records swapped in the last tile", swap_records(520, 599), ("reordered", 520, 599)),
    ("records swapped between tiles", swap_records(100, 300), ("modified", 0, 255)),
    ("a record forged with its hash, in a full tile", forge(300), ("modified", 256, 511)),
    ("a record forged with its hash, in the last tile", forge(550), ("modified", 512, 599)),
    ("a record copied to the end", run_all(
        "INSERT INTO log_record SELECT 600, leaf_hash, header FROM log_record WHERE idx = 0",
        "INSERT INTO log_payload SELECT 600, payload FROM log_payload WHERE idx = 0",
    ), ("inserted", 600, 600)),
    ("the head moved back", run_all("UPDATE log_head SET size = 599"), ("inserted", 599, 599)),
    ("the head moved on", run_all("UPDATE log_head SET size = 601"), ("missing", 600, 600)),
    ("a subtree hash deleted", run_all("DELETE FROM log_node WHERE position = 1"), ("missing", 256, 511)),
    ("a subtree hash changed", run_all("UPDATE log_node SET hash = zeroblob(32) WHERE position = 0"), ("modified", 0, 255)),
    ("a payload without a record", run_all("INSERT INTO log_payload VALUES (1000, x'00')"), ("inserted", 0, 599)),
    ("the head deleted", run_all("DELETE FROM log_head"), ("missing", 0, 0)),
    ("a header that is no JSON", run_all("UPDATE log_record SET header = x'00' WHERE idx = 3"), ("modified", 3, 3)),
    ("a header that is a number", run_all("UPDATE log_record SET header = 1 WHERE idx = 3"), ("modified", 3, 3)),
    ("a table dropped", run_all("DROP TABLE log_payload"), ("unreadable", 0, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "finding"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_tampering_is_named_with_its_place(
    tampered: Callable[[int], sqlite3.Connection], database: Path, tamper: Tamper, finding: tuple[str, int, int]
) -> None:
    """Each kind of tampering with a log of 600 records is found, named and placed."""
    tamper(tampered(600))
    report = verify_log(database)
    assert not report.valid
    assert finding in places(report), report.problems


def test_a_payload_that_cannot_be_opened_is_found_with_keys(
    tampered: Callable[[int], sqlite3.Connection], database: Path, kms: KeyFileKms
) -> None:
    """A destroyed key leaves the log provable, and with keys given it is told which payloads are unreadable."""
    tampered(3).execute("UPDATE key_patient SET wrapped = NULL WHERE kid = (SELECT kid FROM key_patient LIMIT 1)")
    assert verify_log(database).valid
    report = verify_log(database, kms)
    assert [problem.kind for problem in report.problems] == [ProblemKind.UNREADABLE]
    assert report.payloads_opened == 2


def test_a_file_that_is_no_database_is_a_finding(tmp_path: Path) -> None:
    """Garbage is told as unreadable, an absent file as absent."""
    path = tmp_path / "garbage.db"
    path.write_bytes(b"garbage" * 1000)
    report = verify_log(path)
    assert [problem.kind for problem in report.problems] == [ProblemKind.UNREADABLE]
    with pytest.raises(FileNotFoundError):
        verify_log(tmp_path / "none.db")


def test_verifying_sees_one_state_while_records_are_appended(log: AuditLog, database: Path, make_draft: DraftMaker) -> None:
    """A log that grows while it is verified is valid at the size it had when verifying began."""

    async def run() -> list[VerifyReport]:
        async def append() -> None:
            for number in range(100):
                await log.append([make_draft(number=number)])

        task = asyncio.create_task(append())
        reports = [await asyncio.to_thread(verify_log, database) for _ in range(10)]
        await task
        return reports

    assert all(report.valid and report.records == report.size for report in asyncio.run(run()))


def test_progress_is_told(tampered: Callable[[int], sqlite3.Connection], database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work tells how far it is."""
    monkeypatch.setattr("gateway.audit.verify.PROGRESS_EVERY", 100)
    tampered(350)
    told: list[tuple[int, int]] = []
    verify_log(database, progress=lambda done, of: told.append((done, of)))
    assert told == [(100, 350), (200, 350), (300, 350)]
