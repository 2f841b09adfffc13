"""A scripted FHIR server over real HTTP that misbehaves on request: it plays third-party servers, each fault as it was seen in the wild.

Not FHIR-complete on purpose. `Patient/p1` and empty searches are answered well; a test scripts the answers to the search it looks at.
"""

import asyncio
import gzip
import json
import socket
import struct
from dataclasses import dataclass, field

FHIR = "application/fhir+json"


@dataclass
class Answer:
    """One scripted answer. `cut_at`: send only so many bytes of the body, then reset. `drip_s`: pause between pieces of 16 bytes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 0.0
    cut_at: int | None = None
    drip_s: float = 0.0


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def observation(number, patient="p1", version="1", **more):
    """Return an Observation with a version."""
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "meta": {"versionId": version},
        "status": "final",
        "subject": {"reference": f"Patient/{patient}"},
        "code": {"coding": [{"code": "2093-3"}]},
        **more,
    }


def bundle(resources, *, next_url=None, total=None, modes=None):
    """Return a searchset Bundle; `modes` overrides search.mode per entry."""
    made = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "self", "url": "http://self"}]}
    if total is not None:
        made["total"] = total
    if next_url is not None:
        made["link"].append({"relation": "next", "url": next_url})
    modes = modes or ["outcome" if one["resourceType"] == "OperationOutcome" else "match" for one in resources]
    made["entry"] = [{"resource": one, "search": {"mode": mode}} for one, mode in zip(resources, modes, strict=True)]
    return made


def outcome(severity="error", code="exception", details=None):
    """Return an OperationOutcome whose text must never be shown to anyone."""
    issue = {"severity": severity, "code": code, "diagnostics": "text with a name: Canary McPatient"}
    if details:
        issue["details"] = {"coding": [{"code": details}]}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def page(*resources, **more):
    """Return a good answer with these resources."""
    return Answer(body=json.dumps(bundle(list(resources), **more)).encode())


def gzipped(answer, encoding="gzip"):
    """Return the answer compressed."""
    return Answer(body=gzip.compress(answer.body), headers={"Content-Encoding": encoding})


class DirtyServer:
    """Listens on loopback inside the test's own event loop. `script[resource_type]` is a list of answers; the last one repeats."""

    def __init__(self, script=None, patient=None, base_path="/fhir"):
        self.script = {key: list(answers) for key, answers in (script or {}).items()}
        self.patient = patient or Answer(body=b'{"resourceType":"Patient","id":"p1","meta":{"versionId":"3"}}')
        self.base_path = base_path
        self.seen: list[Seen] = []
        self.at_once = 0
        self.at_once_max = 0
        self._tasks = set()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}{self.base_path}"

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def searches(self, resource_type):
        return [one for one in self.seen if f"/{resource_type}?" in one.target]

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while (seen := await self._read(reader)) is not None:
                self.seen.append(seen)
                self.at_once += 1
                self.at_once_max = max(self.at_once_max, self.at_once)
                try:
                    await self._send(writer, self.answer(seen))
                finally:
                    self.at_once -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Seen(method, target, headers, body)

    def answer(self, seen):
        """Choose the answer: subclasses play servers that look at the whole request."""
        path = seen.target.split("?")[0].removeprefix(self.base_path).strip("/")
        if path == "Patient/p1":
            return self.patient
        answers = self.script.get(path or seen.method)
        if not answers:
            known = path in {"Observation", "Condition", "Encounter"}
            return page() if known else Answer(404, json.dumps(outcome(code="not-found")).encode())
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def _send(self, writer, answer):
        if answer.hang_s:
            await asyncio.sleep(answer.hang_s)
        headers = {"Content-Type": FHIR, **answer.headers}
        headers.setdefault("Content-Length", str(len(answer.body)))
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        body = answer.body if answer.cut_at is None else answer.body[: answer.cut_at]
        step = 16 if answer.drip_s else max(1, len(body))
        for start in range(0, len(body), step):
            writer.write(body[start : start + step])
            await writer.drain()
            if answer.drip_s:
                await asyncio.sleep(answer.drip_s)
        await writer.drain()
        if answer.cut_at is not None:
            await asyncio.sleep(0.02)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            raise ConnectionResetError


class BatchingServer(DirtyServer):
    """Answers batches by answering each entry as a GET; `batch_cap` cuts the entries' results, without links or totals."""

    def __init__(self, *arguments, batch_cap=None, batch_status=200, lose_entry=False, **more):
        super().__init__(*arguments, **more)
        self.batch_cap = batch_cap
        self.batch_status = batch_status
        self.lose_entry = lose_entry
        self.batches = 0

    def answer(self, seen):
        if seen.target.endswith("/metadata"):
            rest = [{"mode": "server", "interaction": [{"code": "batch"}]}]
            return Answer(body=json.dumps({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": rest}).encode())
        if seen.method != "POST":
            return super().answer(seen)
        self.batches += 1
        if self.batch_status != 200:
            return Answer(self.batch_status, json.dumps(outcome()).encode())
        entries = [self._entry(one["request"]["url"]) for one in json.loads(seen.body)["entry"]]
        if self.lose_entry:
            entries.pop()
        return Answer(body=json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": entries}).encode())

    def _entry(self, url):
        answer = super().answer(Seen("GET", f"{self.base_path}/{url}", {}, b""))
        if answer.status != 200:
            return {"response": {"status": str(answer.status), "outcome": outcome()}}
        resource = json.loads(answer.body)
        if self.batch_cap is not None and resource["resourceType"] == "Bundle":
            resource["entry"] = resource["entry"][: self.batch_cap]
            resource.pop("total", None)
            resource["link"] = []
        return {"resource": resource, "response": {"status": "200 OK"}}
