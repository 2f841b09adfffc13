"""Appending: durable, in order, once, and told when nobody waits any more."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from slow_log import Gate, open_slow

from gateway.audit import (
    AuditLog,
    AuditLogError,
    EventType,
    KeyFileKms,
    LogReader,
    Receipt,
    RecordDraft,
    StoredRecord,
    init_keys,
    verify_log,
)
from gateway.audit.log import QUEUE_WAITERS_MAX
from gateway.errors import ErrorCode, Unavailable
from gateway.store import Database

DraftMaker = Callable[..., RecordDraft]


def read(database: Path) -> list[StoredRecord]:
    with LogReader(database) as reader:
        return list(reader.records())


def types(database: Path) -> list[str]:
    return [str(record.fields["type"]) for record in read(database)]


def test_a_receipt_names_the_record(log: AuditLog, database: Path, make_draft: DraftMaker) -> None:
    """The receipt's text is log id, index and leaf hash of the stored record."""
    receipts = asyncio.run(log.append([make_draft(EventType.ACCESS), make_draft(EventType.RESULT)]))
    records = read(database)
    assert [str(receipt) for receipt in receipts] == [f"{log.log_id}/{i}/{record.leaf_hash.hex()}" for i, record in enumerate(records)]
    assert [receipt.rid for receipt in receipts] == [record.fields["rid"] for record in records]


def test_what_is_acknowledged_is_seen_by_another_connection(log: AuditLog, database: Path, make_draft: DraftMaker) -> None:
    """When `append` returns, the commit is done: another connection reads the record and the log verifies."""

    async def run() -> None:
        for number in range(5):
            await log.append([make_draft(number=number)])
            assert len(read(database)) == number + 1
            assert verify_log(database).valid

    asyncio.run(run())


def test_the_drafts_of_one_call_stand_together(log: AuditLog, database: Path, make_draft: DraftMaker) -> None:
    """Many callers append pairs at once: no pair is torn apart, no index is missing, each caller gets its own receipts."""

    async def caller(name: int) -> list[tuple[Receipt, ...]]:
        kinds = (EventType.ACCESS, EventType.RESULT)
        return [await log.append([make_draft(kind, number=name * 1000 + turn) for kind in kinds]) for turn in range(20)]

    async def run() -> list[list[tuple[Receipt, ...]]]:
        return await asyncio.gather(*[caller(name) for name in range(32)])

    results = asyncio.run(run())
    records = read(database)
    assert [record.index for record in records] == list(range(32 * 20 * 2))
    for name, pairs in enumerate(results):
        indices = [receipt.index for pair in pairs for receipt in pair]
        assert indices == sorted(indices)
        for turn, (access, result) in enumerate(pairs):
            assert result.index == access.index + 1
            assert records[access.index].fields["request_id"] == f"r{name * 1000 + turn}"
            assert records[result.index].fields["caused_by"] == access.rid
    assert verify_log(database).valid


def test_a_result_finds_its_access(log: AuditLog, database: Path, make_draft: DraftMaker) -> None:
    """Each end names the ACCESS of the same request and patient, also with several patients in one request."""

    async def run() -> None:
        for patient in ("a", "b"):
            await log.append([make_draft(EventType.ACCESS, patient_id=patient)])
        for patient in ("b", "a"):
            await log.append([make_draft(EventType.RESULT, patient_id=patient)])

    asyncio.run(run())
    first, second, end_of_second, end_of_first = (record.fields for record in read(database))
    assert end_of_second["caused_by"] == second["rid"]
    assert end_of_first["caused_by"] == first["rid"]


def test_a_late_record_is_followed_by_not_delivered(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> None:
    """A caller whose time is over is refused, and the record that becomes durable afterwards says that nothing was sent."""
    gate = Gate()
    log = open_slow(database, kms, gate)

    async def run() -> None:
        await log.append([make_draft(EventType.ACCESS)])
        gate.closed = True
        with pytest.raises(Unavailable) as refusal:
            await log.append([make_draft(EventType.RESULT)], timeout_s=0.05)
        assert refusal.value.code is ErrorCode.AUDIT_UNAVAILABLE
        assert refusal.value.http_status == 503
        gate.closed = False
        await log.append([make_draft(number=2)])
        await log.aclose()

    asyncio.run(run())
    records = [record.fields for record in read(database)]
    (late,) = [fields for fields in records if fields["type"] == "NOT_DELIVERED"]
    (result,) = [fields for fields in records if fields["type"] == "RESULT" and fields["request_id"] == "r1"]
    assert late["caused_by"] == result["rid"]
    assert late["request_id"] == "r1"
    assert verify_log(database, kms).valid


def test_a_record_that_waited_too_long_in_the_queue_is_marked_in_the_same_commit(
    database: Path, kms: KeyFileKms, make_draft: DraftMaker
) -> None:
    """Where the writer sees before writing that nobody waits, RESULT and NOT_DELIVERED stand together."""
    gate = Gate()
    log = open_slow(database, kms, gate)

    async def run() -> None:
        gate.closed = True
        first = asyncio.create_task(log.append([make_draft(number=1)]))
        await gate.until_waiting()
        with pytest.raises(Unavailable):
            await log.append([make_draft(EventType.ACCESS, number=2), make_draft(EventType.RESULT, number=2)], timeout_s=0.02)
        gate.closed = False
        await first
        await log.aclose()

    asyncio.run(run())
    assert types(database) == ["RESULT", "ACCESS", "RESULT", "NOT_DELIVERED"]
    records = read(database)
    assert records[3].fields["caused_by"] == records[2].fields["rid"]


@pytest.mark.parametrize("durable_first", [False, True], ids=["left before the commit", "left after the commit"])
def test_a_client_that_left_is_marked(database: Path, kms: KeyFileKms, make_draft: DraftMaker, *, durable_first: bool) -> None:
    """A cancelled caller heard of nothing, whether the record was durable a moment before or became so after."""
    gate = Gate()
    log = open_slow(database, kms, gate)

    async def run() -> None:
        gate.closed = True
        task = asyncio.create_task(log.append([make_draft()]))
        await gate.until_waiting()
        if durable_first:
            gate.closed = False
            while log.size == 0:
                pass  # hold the loop: the record is durable, the caller's wake-up waits behind this task
            wait_without_the_loop()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.closed = False
        await log.aclose()

    asyncio.run(run())
    assert types(database) == ["RESULT", "NOT_DELIVERED"]


def wait_without_the_loop() -> None:
    time.sleep(0.05)  # blocking on purpose: the loop must not run


def test_a_full_queue_refuses_at_once(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> None:
    """With the queue at its limit the next caller is refused without a wait; those in the queue are written."""
    gate = Gate()
    log = open_slow(database, kms, gate)

    async def run() -> None:
        gate.closed = True
        waiting = [asyncio.create_task(log.append([make_draft(number=0)], 30))]
        await gate.until_waiting()
        waiting += [asyncio.create_task(log.append([make_draft(number=number)], 30)) for number in range(1, QUEUE_WAITERS_MAX + 1)]
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable) as refusal:
            await log.append([make_draft(number=9999)])
        assert "too many" in refusal.value.detail
        gate.closed = False
        await asyncio.gather(*waiting)
        await log.aclose()

    asyncio.run(run())
    assert types(database) == ["RESULT"] * (QUEUE_WAITERS_MAX + 1)


def test_a_batch_that_cannot_be_sealed_does_not_take_others_along(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> None:
    """A header that is too long fails its own caller only."""
    gate = Gate()
    log = open_slow(database, kms, gate)
    long = {"model_id": "m" * 1000, "model_sha256": "s" * 1000, "config_sha256": "c" * 1000, "data_contract": "d" * 1000}

    async def run() -> list[object]:
        gate.closed = True
        first = asyncio.create_task(log.append([make_draft(number=0)]))
        await gate.until_waiting()
        drafts = [make_draft(EventType.ACCESS, number=number, **fields) for number, fields in ((1, {}), (2, long), (3, {}))]
        others = [asyncio.create_task(log.append([draft])) for draft in drafts]
        await asyncio.sleep(0.02)
        gate.closed = False
        await first
        results = await asyncio.gather(*others, return_exceptions=True)
        await log.aclose()
        return list(results)

    results = asyncio.run(run())
    assert isinstance(results[1], ValueError)
    assert [record.fields["request_id"] for record in read(database)] == ["r0", "r1", "r3"]


def test_closing_writes_what_is_queued_and_refuses_what_comes_after(log: AuditLog, database: Path, make_draft: DraftMaker) -> None:
    """Nothing queued is lost at a clean end; a closed log refuses and says so."""

    async def run() -> None:
        tasks = [asyncio.create_task(log.append([make_draft(number=number)])) for number in range(100)]
        await asyncio.sleep(0)
        assert await log.aclose()
        assert len(await asyncio.gather(*tasks)) == 100
        with pytest.raises(Unavailable):
            await log.append([make_draft()])

    asyncio.run(run())
    assert len(read(database)) == 100
    assert log.healthy() == (False, "the audit log is closed")


def test_the_log_goes_on_where_it_stood(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> None:
    """Opened again the log has the same id and the next index; 600 records in three lives verify as one."""
    log_ids = set()
    for _ in range(3):
        log = AuditLog.open(database, kms)
        log_ids.add(log.log_id)
        asyncio.run(log.append([make_draft(number=number) for number in range(200)]))
        assert log.close()
    assert len(log_ids) == 1
    report = verify_log(database, kms)
    assert report.valid
    assert report.size == report.payloads_opened == 600


CRASHING = """
import asyncio, os, sys
from pathlib import Path
from gateway.audit import AuditLog, EventType, KeyFileKms, RecordDraft
from gateway.identity import Caller, TenantId
caller = Caller(client_id="ehr", tenant=TenantId("ward"), user="dr-x")
def draft(kind, number):
    return RecordDraft(type=kind, caller=caller, request_id=f"r{number}", patient_id=f"p{number}")
log = AuditLog.open(Path(sys.argv[1]), KeyFileKms(Path(sys.argv[2])))
async def run():
    for number in (1, 2, 3):
        await log.append([draft(EventType.ACCESS, number)])
    await log.append([draft(EventType.RESULT, 2)])
    await log.append([draft(EventType.REFUSED, 3)])
asyncio.run(run())
print("ready", flush=True)
if sys.argv[3] == "crash":
    os._exit(9)
sys.stdin.read()
log.close()
"""


def start_process(database: Path, mode: str) -> subprocess.Popen[str]:
    keys = database.with_name("keys.json")
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", CRASHING, str(database), str(keys), mode], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_an_access_without_an_end_is_marked_at_the_next_start(database: Path, kms: KeyFileKms) -> None:
    """Of three ACCESS of a process that died, the one without an end gets one ABANDONED, with the same actor and patient key; once."""
    process = start_process(database, "crash")
    process.communicate()
    for _ in range(2):
        assert AuditLog.open(database, kms).close()
    assert types(database) == ["ACCESS", "ACCESS", "ACCESS", "RESULT", "REFUSED", "ABANDONED"]
    records = [record.fields for record in read(database)]
    assert records[5]["caused_by"] == records[0]["rid"]
    for name in ("tenant", "client_id", "user_token", "purpose", "request_id", "kid_patient"):
        assert records[5][name] == records[0][name]
    connection = Database(database).connect_log()
    assert connection.load_tokens(5) == connection.load_tokens(0) != []
    connection.close()
    assert verify_log(database, kms).valid


def test_what_a_living_process_has_open_is_left_alone(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> None:
    """A second process on the same log neither abandons what the first has open nor breaks the order."""
    process = start_process(database, "wait")
    log = AuditLog.open(database, kms)
    asyncio.run(log.append([make_draft(number=7)]))
    log.close()
    assert "ABANDONED" not in types(database)
    process.communicate(input="")
    assert AuditLog.open(database, kms).close()
    assert types(database).count("ABANDONED") == 1
    assert verify_log(database, kms).valid


def test_two_logs_on_one_database_share_one_order(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> None:
    """Two writers at once: every index once, both verify."""
    logs = [AuditLog.open(database, kms) for _ in range(2)]

    async def run() -> list[tuple[Receipt, ...]]:
        return await asyncio.gather(*[logs[number % 2].append([make_draft(number=number)], 10) for number in range(200)])

    receipts = asyncio.run(run())
    for log in logs:
        log.close()
    assert sorted(receipt.index for (receipt,) in receipts) == list(range(200))
    assert verify_log(database, kms).valid


def test_a_log_whose_tail_was_changed_does_not_open(database: Path, kms: KeyFileKms, make_draft: DraftMaker) -> None:
    """A start on a broken tail is refused with the place."""
    log = AuditLog.open(database, kms)
    asyncio.run(log.append([make_draft(number=number) for number in range(3)]))
    log.close()
    raw = Database(database).connect_log().raw
    raw.execute("DROP TRIGGER log_record_refuses_update")
    raw.execute("UPDATE log_record SET header = replace(header, 'RESULT', 'ACCESS') WHERE idx = 1")
    raw.close()
    with pytest.raises(AuditLogError, match="record 1 was changed"):
        AuditLog.open(database, kms)


def test_a_log_does_not_open_with_other_keys(log: AuditLog, database: Path, tmp_path: Path) -> None:
    """A key file of another installation is refused at the start, not at the first record."""
    init_keys(tmp_path / "other.json")
    with pytest.raises(AuditLogError, match="another key file"):
        AuditLog.open(database, KeyFileKms(tmp_path / "other.json"))


@pytest.mark.parametrize("damage", ["removed", "older copy"])
def test_a_database_that_was_replaced_under_the_running_log_is_noticed(
    database: Path, kms: KeyFileKms, make_draft: DraftMaker, damage: str
) -> None:
    """Where the file is gone, or is an older copy, the log refuses and stays refused until the right file is back."""

    async def run() -> None:
        log = AuditLog.open(database, kms)
        await log.append([make_draft(number=1)])
        log._writer._connection.checkpoint_wal()
        older = database.read_bytes()
        await log.append([make_draft(number=2)])
        for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
            database.with_name(name).unlink(missing_ok=True)
        if damage == "older copy":
            database.write_bytes(older)
        log._writer._connection.close()
        with pytest.raises(Unavailable):
            await log.append([make_draft(number=3)])
        await asyncio.sleep(0.3)
        healthy, reason = log.healthy()
        assert not healthy
        assert reason
        with pytest.raises(Unavailable):
            await log.append([make_draft(number=4)])
        assert log.close(timeout_s=3)

    asyncio.run(run())


def test_an_empty_call_is_refused(log: AuditLog, database: Path, make_draft: Callable[..., RecordDraft]) -> None:
    """There is nothing to append in nothing."""
    nothing: Sequence[RecordDraft] = []
    with pytest.raises(ValueError, match="nothing"):
        asyncio.run(log.append(nothing))


def test_a_log_whose_key_file_is_gone_is_not_healthy(log: AuditLog, database: Path) -> None:
    """Records are still sealed with the keys in memory, but nobody could open them after the next start: readiness says so."""
    assert log.healthy() == (True, "")
    database.with_name("keys.json").unlink()
    healthy, reason = log.healthy()
    assert not healthy
    assert "key file" in reason
