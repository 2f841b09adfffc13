"""`gateway audit`."""

import asyncio
import collections
import sqlite3
import uuid
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import Progress

from gateway.app import make_clock
from gateway.audit import (
    AuditLog,
    AuditLogError,
    EventType,
    KeyFailure,
    Kms,
    LogReader,
    PayloadUnreadable,
    RecordDraft,
    StoredRecord,
    VerifyReport,
    verify_log,
)
from gateway.audit.open_kms import open_kms
from gateway.cli.console import ERR, ConfigOption, Exit, JsonOption, emit, fail, say, settings_of
from gateway.cli.sources import cli_caller
from gateway.config import Settings
from gateway.errors import GatewayError

app = typer.Typer(no_args_is_help=True)

DatabaseOption = Annotated[Path | None, typer.Option("--database", help="The log's database; else the configured one.")]


@app.command("verify")
def verify(
    database: DatabaseOption = None,
    payloads: Annotated[bool, typer.Option("--payloads", help="Open every payload too; needs the keys.")] = False,  # noqa: FBT002 - a flag of the command line
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
    config: ConfigOption = None,
) -> None:
    """Hash every record again, build the tree again, and compare. Exit 1 when something is missing, modified, reordered or inserted."""
    settings = settings_of(config)
    path = database or Path(settings.audit.database)
    try:
        report = _verified(path, open_kms(settings) if payloads else None)
    except FileNotFoundError:
        fail(f"there is no audit database at {path}")
    except KeyFailure as error:
        fail(f"the keys cannot be used: {error}")
    if as_json:
        emit({**msgspec.to_builtins(report), "valid": report.valid})
    else:
        for line in report_lines(report):
            say(line)
    if not report.valid:
        raise typer.Exit(Exit.FOUND)


def _verified(path: Path, kms: Kms | None) -> VerifyReport:
    with Progress(console=ERR, transient=True, disable=not ERR.is_terminal) as progress:
        task = progress.add_task("verifying", total=None)
        return verify_log(path, kms, progress=lambda done, total: progress.update(task, completed=done, total=total))


def report_lines(report: VerifyReport) -> list[str]:
    """Return a verification in words."""
    lines = [f"{problem.kind.value}: records {problem.first} to {problem.last}: {problem.detail}" for problem in report.problems]
    if report.problem_count > len(report.problems):
        lines.append(f"and {report.problem_count - len(report.problems)} more")
    state = "valid" if report.valid else "NOT VALID"
    lines.append(f"log {report.log_id}: {state}, {report.records} records, root {report.root}")
    if report.unsigned_from is not None:
        lines.append(f"no signed checkpoint covers the records from {report.unsigned_from} on")
    return lines


@app.command("show")
def show(
    index: Annotated[int | None, typer.Argument(help="Index of one record; without it the newest ones are listed.")] = None,
    payload: Annotated[bool, typer.Option("--payload", help="Open the encrypted payload. Leaves an AUDIT_READ record.")] = False,  # noqa: FBT002 - a flag of the command line
    last: Annotated[int, typer.Option("--last", help="How many records to list.", min=1)] = 20,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag of the command line
    config: ConfigOption = None,
) -> None:
    """Show records of the log: headers, which hold no patient data, or with --payload what they are about."""
    settings = settings_of(config)
    if payload:
        asyncio.run(_record_reading(settings, index, last))
    rows = _shown(settings, index, last, payload=payload)
    if index is not None and not rows:
        fail(f"the log has no record {index}")
    if as_json:
        emit(rows)
        return
    for row in rows:
        say(_line(row))


def _shown(settings: Settings, index: int | None, last: int, *, payload: bool) -> list[dict[str, object]]:
    path = Path(settings.audit.database)
    try:
        kms = open_kms(settings) if payload else None
        with LogReader(path, kms) as reader:
            if index is not None:
                return [_row(reader, record, payload=payload) for record in reader.records(index, index + 1)]
            # No payload is opened but those that the record of this reading names.
            return [_row(reader, record, payload=payload) for record in collections.deque(reader.records(), maxlen=last)]
    except FileNotFoundError:
        fail(f"there is no audit database at {path}")
    except (KeyFailure, sqlite3.Error) as error:
        fail(f"the log cannot be read: {error}")


def _row(reader: LogReader, record: StoredRecord, *, payload: bool) -> dict[str, object]:
    row: dict[str, object] = {"index": record.index, "header": record.fields, "leaf_hash": record.leaf_hash.hex()}
    if payload:
        try:
            row["payload"] = msgspec.json.decode(reader.open_payload(record))
        except PayloadUnreadable as error:
            row["payload_unreadable"] = str(error)
    return row


def _line(row: dict[str, object]) -> str:
    header = row["header"]
    fields = header if isinstance(header, dict) else {}
    parts = [str(row["index"]), str(fields.get("recorded", "")), str(fields.get("type", "")), str(fields.get("outcome", ""))]
    parts += [
        f"{name}={fields[name]}"
        for name in ("client_id", "model_id", "dq_verdict", "rung", "fallback", "http_status", "count")
        if name in fields
    ]
    text = " ".join(parts)
    return text + (f"\n{msgspec.json.format(msgspec.json.encode(row['payload']), indent=2).decode()}" if "payload" in row else "")


async def _record_reading(settings: Settings, index: int | None, last: int) -> None:
    """Make AUDIT_READ durable before any payload is opened."""
    try:
        log = AuditLog.open(Path(settings.audit.database), open_kms(settings), clock=make_clock(settings))
    except (AuditLogError, KeyFailure) as error:
        fail(f"the log cannot be opened: {error}")
    draft = RecordDraft(
        type=EventType.AUDIT_READ,
        caller=cli_caller(settings),
        request_id=str(uuid.uuid4()),
        payload={"index": index, "last": None if index is not None else last},
    )
    try:
        await log.append((draft,), settings.audit.wait_s_max)
    except GatewayError as error:
        fail(error.public)
    finally:
        await log.aclose()
