"""The embedded server, over real HTTP and inside."""

import datetime as dt
import json
import urllib.error
import urllib.request

import pytest

from gateway.clock import FrozenClock
from gateway.sandbox import SandboxServer, fixtures_dir, load_fixtures
from gateway.sandbox.relative import render_dates
from gateway.sandbox.store import ResourceStore, SearchError, parse_span

NOW = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)
LEAP = dt.datetime(2028, 2, 29, 8, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def sandbox():
    """Serve the fixtures at a fixed time."""
    with SandboxServer(clock=FrozenClock(NOW)) as server:
        yield server


def ask(server, path, *, method="GET", body=None):
    """Send one request and return status and JSON."""
    request = urllib.request.Request(f"{server.base_url}/{path}".rstrip("/"), data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def found(server, query):
    """Return the ids a search finds."""
    status, bundle = ask(server, query)
    assert (status, bundle["resourceType"]) == (200, "Bundle"), bundle
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


@pytest.mark.parametrize(
    ("text", "now", "rendered"),
    [
        ("{{now}}", NOW, "2026-11-24T08:00:00Z"), ("{{now-34d}}", NOW, "2026-10-21T08:00:00Z"), ("{{now-34d|date}}", NOW, "2026-10-21"),
        ("{{now-55y-120d|date}}", NOW, "1971-07-27"), ("{{now-55y|year}}", NOW, "1971"), ("{{now-1mo|month}}", NOW, "2026-10"),
        ("{{now-2h+30min}}", NOW, "2026-11-24T06:30:00Z"), ("{{ now - 1d }}", NOW, None), ("{{now-1y|date}}", LEAP, "2027-02-28"),
        ("{{now-11mo|date}}", NOW, "2025-12-24"), ("{{then-1d}}", NOW, None), ("{{now-1x}}", NOW, None), ("no date", NOW, "no date"),
    ],
)  # fmt: skip
def test_relative_dates(text, now, rendered):
    """Readable steps back from now; anything that only looks like one is an error, never left in the data."""
    if rendered is None:
        with pytest.raises(ValueError, match="misspelt"):
            render_dates(text, now)
    else:
        assert render_dates(text, now) == rendered


def _dated(resource):
    return "effectiveDateTime" in resource


def test_the_fixtures_do_not_age():
    """Ten years later every Observation lies as far back as today (calendar years differ by a leap day or two)."""
    later = NOW.replace(year=NOW.year + 10)
    ages = [
        [(at - dt.datetime.fromisoformat(one["effectiveDateTime"])).days for one in load_fixtures(fixtures_dir(), at) if _dated(one)]
        for at in (NOW, later)
    ]
    assert len(ages[0]) > 200
    assert max(abs(a - b) for a, b in zip(*ages, strict=True)) <= 3


def test_every_resource_of_a_fixture_belongs_to_its_patient():
    """References point into the same file, names are plainly synthetic."""
    for path in sorted(fixtures_dir().glob("*.json")):
        resources = [entry["resource"] for entry in json.loads(path.read_text())["entry"]]
        own = {f"{one['resourceType']}/{one['id']}" for one in resources}
        patients = [one for one in resources if one["resourceType"] == "Patient"]
        assert [one["id"] for one in patients] == [path.stem]
        assert patients[0]["name"][0]["family"] == "Synthetic"
        for one in resources:
            for element in ("subject", "encounter", "medicationReference"):
                assert element not in one or one[element]["reference"] in own


def test_the_readme_lists_every_fixture():
    """A patient that the table does not explain is not understood."""
    readme = (fixtures_dir() / "README.md").read_text()
    for path in fixtures_dir().glob("*.json"):
        assert f"`{path.stem}`" in readme, path.stem


SEARCHES = [
    ("Observation?patient=demo-complete&code=http://loinc.org|2093-3", {"demo-complete-total-cholesterol"}),
    ("Observation?patient=Patient/demo-complete&code=2093-3,2085-9", {"demo-complete-total-cholesterol", "demo-complete-hdl-cholesterol"}),
    ("Observation?subject=Patient/demo-complete&category=social-history", {"demo-complete-smoking"}),
    ("Observation?patient=demo-complete&code=http://other.org|2093-3", set()),
    ("Observation?patient=demo-complete&code=2093-3&date=ge2026-10-14", {"demo-complete-total-cholesterol"}),
    ("Observation?patient=demo-complete&code=2093-3&date=gt2026-10-14", set()),
    ("Observation?patient=demo-complete&code=2093-3&date=2026-10", {"demo-complete-total-cholesterol"}),
    ("Observation?patient=demo-complete&code=2093-3&date=lt2026-10-14", set()),
    ("Observation?patient=test-preliminary-newer&code=2093-3&status=preliminary", {"test-preliminary-newer-total-cholesterol-new"}),
    ("Condition?patient=demo-prior-disease&clinical-status=resolved", {"demo-prior-disease-infarction"}),
    ("Encounter?patient=test-ed-open&status=in-progress", {"test-ed-open-ed"}),
    ("Encounter?patient=test-ed-open&class=EMER", {"test-ed-open-ed"}),
    ("Encounter?patient=test-ed-open&date=ge2026-11-24", {"test-ed-open-ed"}),
    ("MedicationRequest?patient=demo-si-units&status=active&intent=order", {"demo-si-units-ramipril", "demo-si-units-atorvastatin"}),
    (
        "MedicationRequest?patient=test-medication-reference&_include=MedicationRequest:medication",
        {"test-medication-reference-order", "test-medication-lisinopril"},
    ),
    ("Patient?_id=demo-complete,demo-stale-lab", {"demo-complete", "demo-stale-lab"}),
    ("Observation?patient=nobody", set()),
    ("Procedure?patient=demo-complete", set()),
]


@pytest.mark.parametrize(("query", "ids"), SEARCHES)
def test_a_search_finds_what_fhir_says_it_finds(sandbox, query, ids):
    """Tokens with and without system, lists, dates with prefixes, includes."""
    assert set(found(sandbox, query.replace("|", "%7C"))) == ids


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("Patient/nobody", 404, "not-found"),
        ("Practitioner/x", 404, "not-supported"),
        ("Observation?patient=x&bogus=1", 400, "not-supported"),
        ("Observation?code:in=x", 400, "not-supported"),
        ("Observation?date=yesterday", 400, "not-supported"),
        ("Observation?_count=none", 400, "invalid"),
        ("Observation?_count=0", 400, "invalid"),
        ("Observation?patient=x&code=", 400, "not-supported"),
        ("Observation?_include=Observation:device", 400, "not-supported"),
        ("Observation?=", 400, "not-supported"),
    ],
)
def test_what_is_not_supported_is_said(sandbox, path, status, code):
    """Never an empty result for a question that was not understood."""
    got, outcome = ask(sandbox, path)
    assert (got, outcome["resourceType"], outcome["issue"][0]["code"]) == (status, "OperationOutcome", code)


def test_pages_lead_to_each_other_and_lose_nothing(sandbox):
    """`_count`, `next` links and `_total` over all Observations of all patients."""
    everything = found(sandbox, "Observation?_count=1000")
    seen, path = [], "Observation?_count=7&_total=accurate"
    while path:
        _, bundle = ask(sandbox, path)
        assert bundle["total"] == len(everything)
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        path = next((link["url"].removeprefix(f"{sandbox.base_url}/") for link in bundle["link"] if link["relation"] == "next"), None)
    assert seen == everything
    assert "total" not in ask(sandbox, "Observation?_count=7")[1]


def test_a_batch_answers_each_entry_in_order(sandbox):
    """Reads, searches and refusals side by side."""
    urls = ["Patient/demo-complete", "Observation?patient=demo-complete&code=2093-3", "Patient/nobody", "Observation?bogus=1"]
    entries = [{"request": {"method": "GET", "url": url}} for url in urls]
    entries.append({"request": {"method": "DELETE", "url": "Patient/demo-complete"}})
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    status, answer = ask(sandbox, "", method="POST", body=json.dumps(bundle).encode())
    assert status == 200
    assert [entry["response"]["status"] for entry in answer["entry"]] == ["200", "200", "404", "400", "405"]
    assert answer["entry"][0]["resource"]["id"] == "demo-complete"


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "Patient/demo-complete"), ("DELETE", "Patient/demo-complete"), ("POST", "Patient"), ("PATCH", "Patient/x")]
)
def test_nothing_can_be_written(sandbox, method, path):
    """The sandbox only reads."""
    assert ask(sandbox, path, method=method, body=b"{}")[0] == 405
    assert ask(sandbox, "Patient/demo-complete")[0] == 200


@pytest.mark.parametrize("body", [b"", b"[]", b'{"resourceType":"Bundle","type":"transaction","entry":[]}', b"{" * 5000])
def test_a_malformed_batch_is_refused(sandbox, body):
    """400 with an OperationOutcome, whatever stands in the body."""
    status, outcome = ask(sandbox, "", method="POST", body=body)
    assert (status, outcome["resourceType"]) == (400, "OperationOutcome")


def test_a_search_by_post_is_a_search(sandbox):
    """`_search` keeps patient ids out of addresses."""
    status, bundle = ask(sandbox, "Observation/_search", method="POST", body=b"patient=demo-complete&code=2093-3")
    assert (status, bundle["total"]) == (200, 1)


def test_the_capability_statement_promises_what_is_there(sandbox):
    """Every declared search parameter is accepted; the batch interaction is declared."""
    _, statement = ask(sandbox, "metadata")
    rest = statement["rest"][0]
    assert {"code": "batch"} in rest["interaction"]
    values = {"date": "2026-01-01", "reference": "demo-complete", "token": "x"}
    declared = [(resource["type"], parameter) for resource in rest["resource"] for parameter in resource["searchParam"]]
    assert len(declared) > 10
    for resource_type, parameter in declared:
        status, answer = ask(sandbox, f"{resource_type}?{parameter['name']}={values[parameter['type']]}")
        assert (status, answer["resourceType"]) == (200, "Bundle"), (resource_type, parameter)


def test_a_body_larger_than_allowed_is_refused(sandbox):
    """One megabyte is the limit."""
    assert ask(sandbox, "", method="POST", body=b" " * 1_000_001)[0] == 413


def test_a_server_stops_and_frees_its_port():
    """Start, stop, start again on the same port."""
    with SandboxServer(clock=FrozenClock(NOW)) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
    with SandboxServer(clock=FrozenClock(NOW), port=port) as server:
        assert ask(server, "metadata")[0] == 200


def test_a_date_that_is_none_is_refused():
    """Years, months, days and instants; nothing else."""
    for text in ("", "2026-13", "26", "2026-02-30", "2026-00", "0000", "x", "2026-1-1-1T"):
        with pytest.raises(SearchError):
            parse_span(text)
    assert ResourceStore([]).search("Observation", [("date", "2026")]) == []
