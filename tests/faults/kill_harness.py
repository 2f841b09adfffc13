"""Kills a server under load, again and again, and checks what it had acknowledged.

The client alone counts what was acknowledged: the `Audit-Receipt` headers of complete answers with status 200. After each kill the
server is started again, the log is verified, and every receipt must name a RESULT record with that hash and that request id.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp
import msgspec
import orjson

from gateway.audit import verify_log

WORKERS = 12
IN_FLIGHT_MIN = 8
ACKNOWLEDGED_MIN = 50
START_TIMEOUT_S = 30.0
LOAD_TIMEOUT_S = 60.0
KILL_AFTER_S_MAX = 0.15


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the server under test. The harness adds X-Request-Id, by which the record must be found again."""

    method: str = "POST"
    path: str = "/"
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server to be killed: how to start it on a port, where its log lies, when it is ready, what to ask of it."""

    name: str
    command: Callable[[int], Sequence[str]]
    database: Path
    call: Callable[[int], Call]
    ready_path: str = "/health/ready"
    environment: Mapping[str, str] = {}


class CampaignReport(msgspec.Struct, kw_only=True):
    """What a campaign counted."""

    kills: int = 0
    acknowledged: int = 0
    abandoned: int = 0
    refused: int = 0
    records: int = 0
    in_flight_at_kill: list[int] = []
    restart_s: list[float] = []
    lost: list[str] = []
    broken: list[str] = []

    def summary(self) -> str:
        """Return one line for the test's output."""
        flight = min(self.in_flight_at_kill, default=0)
        return (
            f"{self.kills} kills, {self.acknowledged} answers acknowledged, {len(self.lost)} without RESULT, "
            f"{len(self.broken)} broken logs, {self.abandoned} ABANDONED, {self.refused} refused, {self.records} records, "
            f"at least {flight} in flight, slowest start {max(self.restart_s, default=0):.1f} s"
        )


def kill_count(default: int = 3) -> int:
    """Return how many kills are asked for (GATEWAY_KILLS)."""
    return int(os.environ.get("GATEWAY_KILLS", default))


async def run_campaign(target: Target, kills: int, seed: int, *, stop_at_loss: bool = False) -> CampaignReport:
    """Start, load, kill, start again and check, as often as asked."""
    rng = random.Random(seed)
    report = CampaignReport()
    acknowledged: dict[str, str] = {}
    number = 0
    for _ in range(kills):
        async with _server(target, report) as (process, base):
            _check(target, acknowledged, report)
            if stop_at_loss and report.lost:
                return report
            load = _Load(target, base, number)
            await load.run_and_kill(process, rng)
            number = load.number
        acknowledged |= load.acknowledged
        report.kills += 1
        report.acknowledged += len(load.acknowledged)
        report.refused += load.refused
        report.in_flight_at_kill.append(load.in_flight_at_kill)
    async with _server(target, report):
        _check(target, acknowledged, report)
    return report


class _Load:
    """Keeps the server busy until it dies; counts what was answered."""

    def __init__(self, target: Target, base: str, number: int) -> None:
        self.acknowledged: dict[str, str] = {}
        self.refused = 0
        self.number = number
        self.in_flight_at_kill = 0
        self._in_flight = 0
        self._target = target
        self._base = base
        self._dead = False

    async def run_and_kill(self, process: subprocess.Popen[bytes], rng: random.Random) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            workers = [asyncio.create_task(self._work(session)) for _ in range(WORKERS)]
            deadline = time.monotonic() + LOAD_TIMEOUT_S
            while len(self.acknowledged) < ACKNOWLEDGED_MIN and time.monotonic() < deadline:
                await asyncio.sleep(0.005)
            await asyncio.sleep(rng.uniform(0, KILL_AFTER_S_MAX))
            while self._in_flight < IN_FLIGHT_MIN and time.monotonic() < deadline:
                await asyncio.sleep(0)
            self.in_flight_at_kill = self._in_flight
            process.send_signal(signal.SIGKILL)
            process.wait()
            self._dead = True
            await asyncio.gather(*workers)
        assert len(self.acknowledged) >= ACKNOWLEDGED_MIN, "the server under test answered too little to learn anything"

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while not self._dead:
            self.number += 1
            request_id = f"kill-{self.number}"
            call = self._target.call(self.number)
            headers = {**call.headers, "X-Request-Id": request_id}
            self._in_flight += 1
            try:
                async with session.request(call.method, self._base + call.path, headers=headers, data=call.body) as response:
                    await response.read()
                    receipt = response.headers.get("Audit-Receipt")
                    if response.status == 200 and receipt:
                        self.acknowledged[request_id] = receipt
                    else:
                        self.refused += 1
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.001)
            finally:
                self._in_flight -= 1


@contextlib.asynccontextmanager
async def _server(target: Target, report: CampaignReport) -> AsyncIterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    started = time.monotonic()
    environment = {**os.environ, **target.environment}
    process = subprocess.Popen(target.command(port), env=environment, stdout=subprocess.DEVNULL)
    try:
        await _wait_until_ready(process, f"http://127.0.0.1:{port}{target.ready_path}")
        report.restart_s.append(time.monotonic() - started)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    async with aiohttp.ClientSession(trust_env=False) as session:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise AssertionError(f"the server under test ended with {process.returncode} before it was ready")
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.02)
    raise AssertionError("the server under test was not ready in time")


def free_port() -> int:
    """Return a port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python_command(*arguments: str) -> list[str]:
    """Return a command line for this interpreter."""
    return [sys.executable, *arguments]


def _check(target: Target, acknowledged: Mapping[str, str], report: CampaignReport) -> None:
    """Compare the log with what clients hold. Reads the tables itself, so that it does not trust the product's own reader."""
    verified = verify_log(target.database)
    if not verified.valid:
        report.broken.append("; ".join(f"{problem.kind} {problem.first}: {problem.detail}" for problem in verified.problems[:3]))
    report.records = verified.records
    connection = sqlite3.connect(target.database)
    try:
        log_id = connection.execute("SELECT log_id FROM log_head").fetchone()[0]
        headers = dict(connection.execute("SELECT idx, header FROM log_record"))
    finally:
        connection.close()
    report.lost = [request_id for request_id, receipt in acknowledged.items() if not _is_held(headers, log_id, request_id, receipt)]
    kinds = [orjson.loads(header) for header in headers.values()]
    report.abandoned = sum(fields["type"] == "ABANDONED" for fields in kinds)
    report.broken += [f"{count} ACCESS without an end" for count in [_open_ends(kinds)] if count]
    if sorted(headers) != list(range(len(headers))):
        report.broken.append("indices have a gap")


def _is_held(headers: Mapping[int, bytes], log_id: str, request_id: str, receipt: str) -> bool:
    named, index, leaf_hash = receipt.split("/")
    header = headers.get(int(index))
    if header is None or named != log_id or hashlib.sha256(b"\x00" + header).hexdigest() != leaf_hash:
        return False
    fields = orjson.loads(header)
    return fields["type"] == "RESULT" and fields["request_id"] == request_id


def _open_ends(headers: Sequence[Mapping[str, object]]) -> int:
    ends = {"RESULT", "REFUSED", "REPLAYED", "NOT_DELIVERED", "ABANDONED"}
    ended = {fields.get("caused_by") for fields in headers if fields["type"] in ends}
    return sum(fields["type"] == "ACCESS" and fields["rid"] not in ended for fields in headers)
