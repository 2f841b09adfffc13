"""An error injected at each step of the store: an answer is right or refused, and the log verifies."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit import AuditLog, EventType, KeyFileKms, LogReader, RecordDraft, init_keys, verify_log
from gateway.errors import Unavailable
from gateway.identity import Caller, TenantId
from gateway.store import Database, LogConnection, open_database

CALLER = Caller(client_id="ehr", tenant=TenantId("ward"), user="dr-x")
STEPS = (
    "begin", "move_head", "insert_records", "insert_payloads", "insert_tokens", "insert_nodes", "commit", "checkpoint_wal",
    "load_patient_key",
)  # fmt: skip


class Fault:
    """Fails the n-th call of one step: before it is done, or after it was done (the answer got lost on the way)."""

    def __init__(self, step: str, nth: int, *, done_first: bool, times: int = 1) -> None:
        self.step, self.nth, self.done_first, self.times = step, nth, done_first, times
        self.armed = False
        self.calls = 0
        self.fired = 0

    def wrap(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object) -> object:
            if not self.armed or name != self.step:
                return call(*arguments)
            self.calls += 1
            if self.calls < self.nth or self.fired >= self.times:
                return call(*arguments)
            self.fired += 1
            if self.done_first:
                call(*arguments)
            raise sqlite3.OperationalError("disk I/O error")

        return wrapped


class FaultyConnection(LogConnection):
    """A connection that fails as told."""

    def __init__(self, inner: LogConnection, fault: Fault) -> None:
        super().__init__(inner.raw)
        for step in STEPS:
            setattr(self, step, fault.wrap(step, getattr(super(), step)))


class FaultyDatabase(Database):
    """Hands out connections that fail as told."""

    fault: Fault

    def connect_log(self) -> LogConnection:
        return FaultyConnection(super().connect_log(), self.fault)


def open_log(folder: Path, fault: Fault, *, on_loop: bool = False) -> AuditLog:
    def open_faulty(path: Path) -> Database:
        open_database(path).dispose()
        database = FaultyDatabase(path)
        database.fault = fault
        return database

    init_keys(folder / "keys.json")
    return AuditLog.open(folder / "audit.db", KeyFileKms(folder / "keys.json"), open_store=open_faulty, on_loop=on_loop)


def draft(kind: EventType, number: int) -> RecordDraft:
    return RecordDraft(type=kind, caller=CALLER, request_id=f"r{number}", patient_id=f"p{number}", payload=b"x" * 100)


async def assess(log: AuditLog, number: int) -> str | None:
    try:
        await log.append([draft(EventType.ACCESS, number)])
        (receipt,) = await log.append([draft(EventType.RESULT, number)])
    except Unavailable:
        return None
    return str(receipt)


async def until_healthy(log: AuditLog) -> None:
    async with asyncio.timeout(5):
        while not log.healthy()[0]:
            await asyncio.sleep(0.01)


async def campaign(log: AuditLog, fault: Fault) -> dict[int, str | None]:
    answers: dict[int, str | None] = {}
    fault.armed = True
    for number in range(6):
        answers[number] = await assess(log, number)
        await until_healthy(log)
    if fault.step == "checkpoint_wal":
        await asyncio.sleep(0.3)
        await until_healthy(log)
    answers[99] = await assess(log, 99)
    await log.aclose()
    return answers


def check_records(folder: Path, answers: dict[int, str | None]) -> None:
    report = verify_log(folder / "audit.db", KeyFileKms(folder / "keys.json"))
    assert report.valid, report.problems
    with LogReader(folder / "audit.db") as reader:
        records = list(reader.records())
    by_place = {f"{record.fields['log_id']}/{record.index}/{record.leaf_hash.hex()}": record.fields for record in records}
    followed = {record.fields.get("caused_by") for record in records if record.fields["type"] == "NOT_DELIVERED"}
    held = set(answers.values())
    for number, receipt in answers.items():
        if receipt is not None:
            assert by_place[receipt]["type"] == "RESULT"
            assert by_place[receipt]["request_id"] == f"r{number}"
    for place, fields in by_place.items():
        if fields["type"] == "RESULT" and place not in held:
            assert fields["rid"] in followed, "a RESULT that nobody received is not marked"


# A checkpoint of the write-ahead log happens once in a run; every other step at least five times.
CASES = [
    (step, nth, done_first)
    for step in STEPS
    for nth in ((1,) if step == "checkpoint_wal" else (1, 2, 3, 5))
    for done_first in (False, True)
]


@pytest.mark.parametrize("on_loop", [False, True], ids=["own thread", "on the loop"])
@pytest.mark.parametrize(("step", "nth", "done_first"), CASES)
def test_an_error_of_the_store_refuses_at_most_one_answer_and_the_log_goes_on(
    tmp_path: Path, step: str, nth: int, *, done_first: bool, on_loop: bool
) -> None:
    """One error at one step: at most one request is refused, later ones work without a restart, every answer has its record."""
    fault = Fault(step, nth, done_first=done_first)
    answers = asyncio.run(campaign(open_log(tmp_path, fault, on_loop=on_loop), fault))
    assert fault.fired == 1, "nothing was injected"
    assert sum(answer is None for answer in answers.values()) == (0 if step == "checkpoint_wal" else 1)
    assert answers[99] is not None
    check_records(tmp_path, answers)


def test_a_store_that_fails_for_a_while_is_refused_at_once_and_comes_back(tmp_path: Path) -> None:
    """While the store fails, the log says that it is not healthy and requests are refused without a wait; then it resumes by itself."""
    fault = Fault("begin", 1, done_first=False, times=6)

    async def run() -> dict[int, str | None]:
        log = open_log(tmp_path, fault)
        fault.armed = True
        first = await assess(log, 1)
        assert first is None
        healthy, reason = log.healthy()
        assert not healthy
        assert "audit store failed" in reason
        started = asyncio.get_running_loop().time()
        second = await assess(log, 2)
        assert second is None
        assert asyncio.get_running_loop().time() - started < 0.5
        await until_healthy(log)
        third = await assess(log, 3)
        await log.aclose()
        return {1: first, 2: second, 3: third}

    answers = asyncio.run(run())
    assert answers[3] is not None
    check_records(tmp_path, answers)


def test_a_full_disk_refuses_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    """A real SQLITE_FULL (page limit of the database) refuses; once there is room the same log writes again."""
    fault = Fault("begin", 10**9, done_first=False)

    async def run() -> dict[int, str | None]:
        log = open_log(tmp_path, fault)
        answers = {0: await assess(log, 0)}
        raw = log._writer._connection.raw
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count={pages}")
        number = 0
        while answers[number] is not None and number < 50:
            number += 1
            answers[number] = await assess(log, number)
        assert answers[number] is None, "the disk was never full"
        await until_healthy(log)  # opening again lifts the limit of the old connection: there is room
        answers[99] = await assess(log, 99)
        await log.aclose()
        return answers

    answers = asyncio.run(run())
    assert answers[99] is not None
    check_records(tmp_path, answers)
