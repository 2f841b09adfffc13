"""One log for several processes: what `AuditLog.append` promises holds across a pair of sockets, whichever end fails."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from slow_log import Gate, open_slow

from gateway.audit import AuditLog, EventType, LogReader, verify_log
from gateway.audit.record import PAYLOAD_BYTES_MAX
from gateway.audit.shared_log import GONE, LogHost, SharedLog
from gateway.errors import Unavailable


@pytest.fixture(params=[False, True], ids=["own thread", "on the loop"])
def log(request, database, kms):
    """Return an open, empty log that writes on a thread of its own, and one that writes on its loop as a supervisor's does."""
    opened = AuditLog.open(database, kms, node="test-node", on_loop=request.param)
    yield opened
    opened.close()


@contextlib.asynccontextmanager
async def shared(log: AuditLog, lost: Callable[[], None] = lambda: None) -> AsyncIterator[tuple[SharedLog, LogHost]]:
    """Give the log's two ends; both live on one loop here, as they would on two."""
    ours, theirs = socket.socketpair()
    host = LogHost(log)
    await host.serve(ours)
    asking = await SharedLog.open(theirs, lost)
    yield asking, host
    await asking.aclose()


def types(database):
    with LogReader(database) as reader:
        return [record.fields["type"] for record in reader.records()]


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_receipts_name_the_records_that_were_written(log, database, kms, make_draft):
    """Several processes at once: every receipt names its own record, drafts of one call stand together, payloads can be opened."""
    async with shared(log) as (one, _), shared(log) as (two, _):
        calls = [
            asking.append([make_draft(EventType.ACCESS, number), make_draft(EventType.RESULT, number, payload={"n": number})])
            for number in range(20)
            for asking in (one, two)
        ]
        answered = await asyncio.gather(*calls)
    with LogReader(database, kms) as reader:
        records = list(reader.records())
        for access, result in answered:
            assert result.index == access.index + 1
            for receipt in (access, result):
                record = records[receipt.index]
                assert (record.leaf_hash, record.fields["rid"]) == (receipt.leaf_hash, receipt.rid)
            assert b'"n":' in reader.open_payload(records[result.index])
    assert len(records) == 80
    assert verify_log(database, kms).valid


@pytest.mark.asyncio
async def test_what_cannot_be_appended_is_refused_as_by_the_log_itself(log, make_draft):
    """No draft, a payload above the limit, a header above the limit: ValueError, and others are not taken along."""
    async with shared(log) as (asking, _):
        with pytest.raises(ValueError, match="nothing to append"):
            await asking.append([])
        with pytest.raises(ValueError, match="audit payload"):
            await asking.append([make_draft(payload=b"x" * (PAYLOAD_BYTES_MAX + 1))])
        with pytest.raises(ValueError, match="header"):
            await asking.append([make_draft(model_id="m" * 4000)])
        assert len(await asking.append([make_draft(payload=b"x" * PAYLOAD_BYTES_MAX)])) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["time is over", "cancelled"])
async def test_a_record_that_becomes_durable_too_late_is_followed_by_not_delivered(database, kms, make_draft, how: str):
    """The asking side gave up or was cancelled; the record became durable afterwards: the log says that nothing was sent."""
    gate = Gate()
    log = open_slow(database, kms, gate)
    async with shared(log) as (asking, _):
        gate.closed = True
        task = asyncio.create_task(asking.append([make_draft()], timeout_s=0.2 if how == "time is over" else 5))
        await gate.until_waiting()
        if how == "cancelled":
            task.cancel()
        with pytest.raises((Unavailable, asyncio.CancelledError)):
            await task
        gate.closed = False
        await until(lambda: log.size == 2)
    await log.aclose()
    assert types(database) == ["RESULT", "NOT_DELIVERED"]


@pytest.mark.asyncio
async def test_a_word_that_comes_after_the_asking_side_gave_up_is_answered_by_not_delivered(log, database, make_draft):
    """Durable in time for the owner, too late for the asking side: the one that knows says so."""
    async with shared(log) as (asking, _):
        task = asyncio.create_task(asking.append([make_draft()]))
        await asyncio.sleep(0)  # the question is sent
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: log.size == 2)
    assert types(database) == ["RESULT", "NOT_DELIVERED"]


@pytest.mark.asyncio
async def test_a_process_that_dies_leaves_its_waits_marked(database, kms, make_draft):
    """The asking process is gone before the commit: the record stands, and says that its answer was never sent."""
    gate = Gate()
    log = open_slow(database, kms, gate)
    ours, theirs = socket.socketpair()
    host = LogHost(log)
    await host.serve(ours)
    asking = await SharedLog.open(theirs, lambda: None)
    gate.closed = True
    task = asyncio.create_task(asking.append([make_draft()]))
    await gate.until_waiting()
    asking._frames.close()  # as the kernel does for a dead process
    with pytest.raises(Unavailable):
        await task
    await asyncio.sleep(0.05)
    gate.closed = False
    await until(lambda: log.size == 2)
    await log.aclose()
    assert types(database) == ["RESULT", "NOT_DELIVERED"]


@pytest.mark.asyncio
async def test_without_the_owner_nothing_is_acknowledged(log, make_draft):
    """The owner is gone: who waits is refused, who asks next is refused at once, and the process is told to end."""
    lost = []
    async with shared(log, lambda: lost.append(1)) as (asking, host):
        await asking.append([make_draft()])
        host._frames.close()
        await until(lambda: lost)
        with pytest.raises(Unavailable) as refusal:
            await asking.append([make_draft()])
        assert refusal.value.detail == GONE
        assert asking.healthy() == (False, GONE)


@pytest.mark.asyncio
async def test_the_health_of_the_log_is_told_to_every_process(log, database):
    """What the owner says of the log, the others say as well, without asking."""
    async with shared(log) as (asking, _):
        await until(lambda: asking.healthy() == (True, ""))
        database.with_name("keys.json").unlink()
        await until(lambda: not asking.healthy()[0])
        assert "key file" in asking.healthy()[1]


@pytest.mark.asyncio
@pytest.mark.parametrize("on_loop", [False, True], ids=["own thread", "on the loop"])
async def test_a_bug_of_the_writer_ends_in_refusals(database, kms, make_draft, monkeypatch, *, on_loop: bool):
    """Whoever waits is refused at once, the log says that it is not healthy, and nothing half-written stays."""
    log = AuditLog.open(database, kms, on_loop=on_loop)
    await log.append([make_draft()])
    monkeypatch.setattr(log._writer, "_settle", lambda *_: 1 / 0)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(log.append([make_draft(number=2)]), 1)
    assert log.healthy() == (False, "the audit writer failed (ZeroDivisionError)")
    with pytest.raises(Unavailable):
        await log.append([make_draft(number=3)])
    await log.aclose()
    assert verify_log(database).valid
