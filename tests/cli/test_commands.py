"""Every command: text and JSON, exit 0 good, 1 found something, 2 could not run; never a traceback."""

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from score_answers import risk_answers

from gateway.clock import SystemClock
from gateway.served_models import SHIPPED_MODELS

ROOT = Path(__file__).resolve().parents[2]
CLINICAL = Path(os.environ.get("GATEWAY_CLINICAL_DIR") or ROOT.parent / "shared" / "clinical")


def shown(result, status: int = 0) -> str:
    """Return what was printed, after a look at the exit status; a traceback is never shown."""
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    return result.stdout


def as_json(result, status: int = 0):
    return json.loads(shown(result, status))


# --- assess -----------------------------------------------------------------------------------------------------------------------

AS_OF = SystemClock().now().replace(microsecond=0).isoformat()
# Names of one answer, its time, its place and the bytes it was computed from are its own; everything else must be the same.
OWN = {"fullUrl", "reference", "identifier", "id", "occurrenceDateTime", "effectiveDateTime", "start", "end", "timestamp", "div", "issued"}


def compared(node):
    """Return a document without what belongs to one answer alone."""
    if isinstance(node, dict):
        return {name: compared(value) for name, value in node.items() if name not in OWN}
    return [compared(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize(
    "patient", ["demo-complete", "demo-si-units", "demo-stale-lab", "demo-missing-lab", "demo-prior-disease", "demo-impossible-value"]
)
def test_a_file_and_the_server_give_the_same_answer(run, config, sandbox, bundle_file, patient):
    """The same record as a complete Bundle file and pulled: same numbers, states, reasons, inputs."""
    at = ("--as-of", AS_OF, "--json", "--config", config(sandbox))
    pulled = as_json(run("assess", patient, *at))
    from_file = as_json(run("assess", bundle_file(patient), "--record-complete", *at))
    assert compared(pulled) == compared(from_file)
    assert {entry["resource"]["resourceType"] for entry in pulled["entry"]} >= {"RiskAssessment", "Observation"}


def test_assess_in_words(run, config, sandbox):
    """Verdict, rung, numbers, what was found, and the receipt."""
    text = shown(run("assess", "Patient/demo-complete", "--model", "prevent", "--config", config(sandbox)))
    for part in ("scored", "model on CPU", "10-year risk of total cardiovascular disease: 4.9 %", "found: ", "audit receipt: "):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nobody",), "patient-not-found"),
        (("not an id!",), "invalid-patient-id"),
        (("demo-complete", "--model", "nosuch"), "unknown-model"),
        (("demo-complete", "--as-of", "yesterday"), "invalid-as-of"),
        (("demo-complete", "--setting", "moon"), "invalid-setting"),
        (("junk.json",), "invalid-record"),
    ],
)
def test_assess_that_could_not_run_says_why(run, config, sandbox, tmp_path, arguments, says):
    """Exit 2, our own code and words, nothing on standard output."""
    (tmp_path / "junk.json").write_text("[]")
    result = run("assess", *arguments, "--config", config(sandbox))
    assert shown(result, 2) == ""
    assert says in result.stderr


def test_assess_without_a_server(run, config):
    """An id, and no server to ask: exit 2."""
    result = run("assess", "p1", "--config", config())
    assert "no-fhir-server" in result.stderr
    shown(result, 2)


# --- record show ------------------------------------------------------------------------------------------------------------------


def test_record_show_has_the_form_that_outside_checks_rely_on(run, config, sandbox):
    """Exactly these keys at each level; a number keeps its raw value, unit, time and source."""
    document = as_json(run("record", "show", "demo-si-units", "--json", "--config", config(sandbox)))
    assert list(document) == ["patient", "as_of", "inputs", "dropped"]
    assert document["patient"] == "demo-si-units"
    assert all(list(entry) == KEYS for entry in document["inputs"].values())
    cholesterol = document["inputs"]["total_cholesterol"]
    assert (cholesterol["state"], cholesterol["unit"], cholesterol["raw_unit"]) == ("valid", "mg/dL", "mmol/L")
    assert cholesterol["value"] == pytest.approx(float(cholesterol["raw_value"]) * 38.67, rel=1e-3)
    assert "Observation/" in cholesterol["source"]


def test_record_show_uses_the_names_of_the_code_table(run, config, sandbox):
    """Every input is a concept of the clinical code table."""
    table = CLINICAL / "codes.csv"
    if not table.is_file():
        pytest.skip("no clinical code table (GATEWAY_CLINICAL_DIR)")
    with table.open(encoding="utf-8", newline="") as file:
        concepts = {row["concept"] for row in csv.DictReader(file)}
    names = as_json(run("record", "show", "demo-complete", "--json", "--config", config(sandbox)))["inputs"].keys()
    assert names <= concepts
    assert {"total_cholesterol", "hdl_cholesterol", "sbp", "creatinine", "smoking", "diabetes"} <= names


def test_record_show_lists_what_was_dropped(run, config, tmp_path):
    """A refuted resource and one of somebody else: both listed with a reason, in JSON and in words."""
    path = tmp_path / "record.json"
    other = {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/other"}, "code": {"text": "x"}}
    patient = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1970-01-01"}
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient}, {"resource": other}]}))
    document = as_json(run("record", "show", path, "--json", "--config", config()))
    assert document["dropped"] == [{"resource": "Condition/c1", "reason": "other-patient"}]
    assert "Condition/c1: other-patient" in shown(run("record", "show", path, "--config", config()))


KEYS = ["state", "value", "unit", "time", "source", "raw_value", "raw_unit", "reasons"]


def test_record_show_explains_a_models_inputs(run, config, sandbox):
    """Every input, exclusion and fallback input of the manifest, in the form of `record show`, each with sentences; the log has it."""
    path = config(sandbox)
    document = as_json(run("record", "show", "demo-stale-lab", "--model", "prevent", "--json", "--config", path))
    assert list(document) == ["patient", "as_of", "inputs", "dropped", "model", "verdict", "reasons", "sentences"]
    assert (document["model"]["name"], document["verdict"]) == ("prevent", "scored-degraded")
    assert all(list(entry) == KEYS for entry in document["inputs"].values())
    assert document["inputs"].keys() == document["sentences"].keys()
    assert {"age", "sex", "total_cholesterol", "egfr", "prior_cvd", "pregnancy", "sdi"} <= document["inputs"].keys()
    stale = document["inputs"]["total_cholesterol"]
    assert (stale["state"], stale["value"], stale["reasons"]) == ("stale", 218, ["STALE_INPUT:total_cholesterol"])
    how, found, used, why = document["sentences"]["total_cholesterol"]
    assert how == "Looked for: the newest value of total_cholesterol from a date that has hdl_cholesterol too."
    assert found.startswith(f"Found: 218 mg/dL in {stale['source']} of ")
    assert used == "Not used, too old: total cholesterol 218 mg/dL." or used.startswith("Not used, too old: ")
    assert why.startswith("STALE_INPUT:total_cholesterol: total cholesterol: too old (older than 1825 days)")
    assert any("Computed by ckdepi2021" in sentence for sentence in document["sentences"]["egfr"])
    assert "2 records" in shown(run("audit", "verify", "--config", path))


def test_record_show_explains_in_words(run, config, sandbox):
    """The same sentences, one line each below their input, and the verdict above them."""
    text = shown(run("record", "show", "demo-stale-lab", "--model", "prevent", "--config", config(sandbox)))
    assert "PREVENT 1.0.0: scored with cautions or in part" in text
    for part in ("Not used, too old: ", "Looked for: nothing, because no record holds it.", "Used, concluded absent: ", "dropped: 0"):
        assert part in text


def test_record_show_of_an_unknown_model_says_so(run, config, sandbox):
    """Exit 2 and the reason, as for an assessment."""
    result = run("record", "show", "demo-complete", "--model", "nosuch", "--config", config(sandbox))
    assert "unknown-model" in result.stderr
    assert shown(result, 2) == ""


# --- models, terminology ----------------------------------------------------------------------------------------------------------


def test_models_list(run):
    """Names, versions and hashes of what is served."""
    assert {row["name"] for row in as_json(run("models", "list", "--json"))} >= {"prevent", "ckdepi2021"}
    assert "prevent 1.0.0: PREVENT" in shown(run("models", "list"))


def test_models_list_shows_what_is_served(run, config):
    """The enabled releases and those they read; a name that is no release is refused as by `serve`."""
    path = config(more='[models]\nenabled = ["ckdepi2021"]')
    assert [row["name"] for row in as_json(run("models", "list", "--json", "--config", path))] == ["ckdepi2021"]
    result = run("models", "list", "--config", config(more='[models]\nenabled = ["nosuch"]'))
    shown(result, 2)
    assert "no such release: nosuch" in result.stderr


VECTORS = (
    ("prevent", "prevent_vectors.csv"),
    ("prevent", "framingham_bmi_vectors.csv"),
    ("prevent", "applicability_vectors.csv"),
    ("ckdepi2021", "ckdepi2021_vectors.csv"),
    ("ckdepi2021", "applicability_vectors.csv"),
)
SHIPPED_AS = {
    "prevent_vectors.csv": "vectors.csv",
    "ckdepi2021_vectors.csv": "vectors.csv",
    "framingham_bmi_vectors.csv": "fallback_vectors.csv",
    "applicability_vectors.csv": "applicability_vectors.csv",
}


@pytest.mark.parametrize(("model", "name"), VECTORS)
def test_models_check_of_any_vector_file(run, model, name):
    """Main, fallback and applicability files: all rows pass, and the last line counts them."""
    path = CLINICAL / name
    if not path.is_file():
        path = ROOT / "models" / model / "1.0.0" / SHIPPED_AS[name]
    last = shown(run("models", "check", model, "--vectors", path)).splitlines()[-1]
    good, _, rows = last.removesuffix(" rows within tolerance").partition(" of ")
    assert last.endswith(" rows within tolerance")
    assert int(good) == int(rows) > 0


def test_models_check_of_what_is_shipped(run):
    """Without a file every file shipped with the release is run; the last line adds them up."""
    text = shown(run("models", "check", "prevent"))
    assert text.splitlines()[-1].endswith("rows within tolerance")
    assert all(report["failures"] == [] for report in as_json(run("models", "check", "prevent", "--json")))


def test_a_wrong_expectation_is_found(run, tmp_path):
    """One digit changed in one row of a vector file: exit 1, the row is named, the last line counts one less."""
    source = ROOT / "models" / "ckdepi2021" / "1.0.0" / "vectors.csv"
    rows = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    column = next(name for name in rows[0] if name.startswith(("egfr", "expected")))
    row = next(row for row in rows if row[column])
    row[column] = str(float(row[column]) + 1)
    changed = tmp_path / "changed.csv"
    with changed.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    text = shown(run("models", "check", "ckdepi2021", "--vectors", changed), 1)
    assert next(iter(row.values())) in text
    good, _, total = text.splitlines()[-1].removesuffix(" rows within tolerance").partition(" of ")
    assert int(good) == int(total) - 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "check", "nosuch"),
        ("models", "check", "prevent", "--vectors", "absent.csv"),
        ("terminology", "check", "--vectors", "absent.csv"),
    ],
)
def test_checks_that_could_not_run(run, arguments):
    """An unknown model or a file that is not there: exit 2, and nothing on standard output."""
    assert shown(run(*arguments), 2) == ""


def test_terminology_check(run, tmp_path):
    """All unit vectors pass; a wrong one is found."""
    path = CLINICAL / "units_vectors.csv"
    if not path.is_file():
        pytest.skip("no unit vectors (GATEWAY_CLINICAL_DIR)")
    assert shown(run("terminology", "check", "--vectors", path)).splitlines()[-1].endswith("rows within tolerance")
    report = as_json(run("terminology", "check", "--vectors", path, "--json"))
    assert report["rows"] > 0
    assert report["failures"] == []
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = tmp_path / "changed.csv"
    changed.write_text("\n".join([lines[0], break_last_number(lines[0], lines[1])]), encoding="utf-8")
    assert shown(run("terminology", "check", "--vectors", changed), 1).splitlines()[-1] == "0 of 1 rows within tolerance"


def break_last_number(header: str, line: str) -> str:
    """Return the row with its expected value changed."""
    names, cells = next(csv.reader([header])), next(csv.reader([line]))
    at = max(index for index, name in enumerate(names) if "expected" in name or name.startswith("to_value") or name == "output_value")
    cells[at] = str(float(cells[at]) * 2 + 1)
    return ",".join(f'"{cell}"' for cell in cells)


# --- audit ------------------------------------------------------------------------------------------------------------------------


def test_the_command_line_leaves_audit_records_like_any_caller(run, config, sandbox):
    """`assess` and `record show` each leave ACCESS and RESULT; the log verifies, and its headers hold no patient."""
    path = config(sandbox)
    shown(run("assess", "demo-complete", "--config", path))
    shown(run("record", "show", "demo-complete", "--config", path))
    rows = as_json(run("audit", "show", "--json", "--config", path))
    assert [row["header"]["type"] for row in rows] == ["ACCESS", "RESULT", "ACCESS", "RESULT"]
    assert {row["header"]["client_id"] for row in rows} == {"cli"}
    assert "demo-complete" not in json.dumps(rows)
    report = as_json(run("audit", "verify", "--payloads", "--json", "--config", path))
    assert (report["valid"], report["records"], report["problems"]) == (True, 4, [])
    assert "4 records" in shown(run("audit", "verify", "--config", path))


def test_reading_payloads_is_itself_recorded(run, config, sandbox):
    """`audit show --payload` opens what a record is about, and leaves AUDIT_READ."""
    path = config(sandbox)
    shown(run("assess", "demo-complete", "--config", path))
    (row,) = as_json(run("audit", "show", "1", "--payload", "--json", "--config", path))
    assert row["payload"]["asked"]["patient"] == "demo-complete"
    assert "AUDIT_READ" in shown(run("audit", "show", "--config", path))


def test_tampering_is_found(run, config, sandbox, tmp_path):
    """One byte of one payload changed in the file itself: exit 1, the record is named, in words and in JSON."""
    path = config(sandbox)
    shown(run("assess", "demo-complete", "--config", path))
    database = tmp_path / "log" / "audit.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (payload,) = connection.execute("SELECT payload FROM log_payload LIMIT 1").fetchone()
    connection.close()
    raw = bytearray(database.read_bytes())
    raw[raw.find(payload[:64]) + 8] ^= 1
    database.write_bytes(raw)
    assert "modified: records" in shown(run("audit", "verify", "--config", path), 1)
    assert as_json(run("audit", "verify", "--json", "--config", path), 1)["valid"] is False
    assert "FAIL audit log" in shown(run("doctor", "--config", path), 1)


@pytest.mark.parametrize("arguments", [("verify",), ("show",), ("verify", "--payloads"), ("show", "7")])
def test_a_log_that_is_not_there(run, config, arguments):
    """No database yet: exit 2, and none is made by looking."""
    path = config()
    shown(run("audit", *arguments, "--config", path), 2)
    assert not Path(path).with_name("log").exists()


def test_a_record_that_is_not_there(run, config, sandbox):
    """An index beyond the end: exit 2."""
    path = config(sandbox)
    shown(run("assess", "demo-complete", "--config", path))
    result = run("audit", "show", "99", "--config", path)
    assert "no record 99" in result.stderr
    shown(result, 2)


# --- doctor, configuration --------------------------------------------------------------------------------------------------------


def test_doctor_is_content_with_a_good_installation(run, config, sandbox):
    """Everything there: exit 0, every check good, in words and in JSON."""
    path = config(sandbox)
    findings = as_json(run("doctor", "--json", "--config", path))
    assert [finding["check"] for finding in findings] == ["configuration", "keys", "audit log", "models", "FHIR server", "disk"]
    assert all(finding["good"] for finding in findings)
    assert "FAIL" not in shown(run("doctor", "--config", path))


def with_bad_key(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "kek.json").write_text("junk")


@pytest.mark.parametrize(
    ("base_url", "more", "prepare", "failing"),
    [
        ("http://127.0.0.1:1/fhir", "", None, {"FHIR server"}),
        ("not an address", "", None, {"FHIR server", "configuration"}),
        ("http://ehr.example/fhir", "", None, {"FHIR server", "configuration"}),
        ("", "", with_bad_key, {"keys"}),
        ("", '[models]\nfolder = "absent"', None, {"models"}),
        ("", '[models]\nenabled = ["nosuch"]', None, {"models"}),
        ("", '[server]\nhost = "0.0.0.0"', None, {"configuration"}),
    ],
)
def test_doctor_names_what_is_wrong_and_what_to_do(run, config, tmp_path, base_url, more, prepare, failing):
    """Exit 1; exactly the bad things fail, each with something to do."""
    if prepare:
        prepare(tmp_path)
    findings = as_json(run("doctor", "--json", "--config", config(base_url, more)), 1)
    assert {finding["check"] for finding in findings if not finding["good"]} == failing
    assert all(finding["advice"] or finding["check"] == "configuration" for finding in findings if not finding["good"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("[server]\nprot = 1", "unknown setting server.'prot'; did you mean 'port'?"),
        ("[sever]\nport = 1", "did you mean 'server'?"),
        ('[server]\nport = "x"', "port"),
        ("[server", "not valid TOML"),
    ],
)
@pytest.mark.parametrize("command", [("doctor",), ("assess", "p1"), ("serve",), ("audit", "verify"), ("models", "list")])
def test_a_configuration_that_cannot_be_read(run, config, more, says, command):
    """An unknown key, a wrong kind, no TOML at all: exit 2 with place and nearest name, for every command."""
    result = run(*command, "--config", config("", more))
    shown(result, 2)
    assert says.replace("server.'prot'", "") in result.stderr.replace("'server.prot'", "")


def test_a_configuration_that_is_not_there(run):
    """A file that does not exist: exit 2."""
    result = run("doctor", "--config", "absent.toml")
    assert "cannot be read" in result.stderr
    shown(result, 2)


@pytest.mark.parametrize(
    ("base_url", "more"),
    [("http://ehr.example/fhir", ""), ("", '[server]\nhost = "0.0.0.0"'), ("", 'profile = "production"')],
)
@pytest.mark.parametrize("command", [("serve",), ("assess", "p1")])
def test_unsafe_settings_refuse_to_start(run, config, tmp_path, command, base_url, more):
    """Plain http to elsewhere, a public address, production without identities: exit 2, nothing was opened."""
    path = Path(config(base_url, more if not more.startswith("profile") else ""))
    if more.startswith("profile"):
        path.write_text(f"{more}\n{path.read_text()}")
    result = run(*command, "--config", path)
    shown(result, 2)
    assert "refusing to start" in result.stderr
    assert not (tmp_path / "log").exists()


def test_keys_that_cannot_be_used_end_a_command(run, config, tmp_path, bundle_file):
    """A key file that is none: exit 2 and the reason, no traceback."""
    with_bad_key(tmp_path)
    result = run("assess", bundle_file("demo-complete"), "--config", config())
    shown(result, 2)
    assert "key file" in result.stderr


# --- help -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "",
        "serve",
        "demo",
        "doctor",
        "assess",
        "record show",
        "models list",
        "models check",
        "audit verify",
        "audit show",
        "terminology check",
    ],
)
def test_every_command_explains_itself(run, command):
    """`--help` works everywhere."""
    assert "Usage" in shown(run(*command.split(), "--help"))


# --- faults -----------------------------------------------------------------------------------------------------------------------

CRASH = """
import threading
from gateway.cli import main as entry
import sys
main = sys.modules["gateway.cli.main"]
def crash():
    raise ValueError("born 1961-03-04")
def work():
    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    crash()
main.app = work
entry()
"""


def test_a_crash_of_the_process_tells_its_kind_and_never_its_text():
    """A fault that nobody caught, in a thread or in the command itself: one line each, the type and no word of the patient's."""
    ended = subprocess.run([sys.executable, "-c", CRASH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [(line["level"], line["fault"]) for line in lines] == [("critical", "ValueError")] * 2
    assert "1961" not in ended.stderr + ended.stdout


def test_keys_are_made_once_and_their_state_is_told(run, tmp_path):
    """`keys init` never overwrites; `keys status` names the wrapping key and says nothing secret."""
    made = run("keys", "init")
    assert made.exit_code == 0, made.output
    content = json.loads((tmp_path / "var" / "kek.json").read_bytes())
    state = run("keys", "status", "--json")
    assert state.exit_code == 0
    told = json.loads(state.stdout)
    assert (told["provider"], told["wrapping_key"], told["usable"]) == ("file", content["kek_id"], True)
    assert len(bytes.fromhex(told["signing_public_key"])) == 32
    assert content["kek"] not in state.output
    assert content["signing_seed"] not in state.output
    again = run("keys", "init")
    assert again.exit_code == 2
    assert "never overwritten" in again.output
    assert json.loads((tmp_path / "var" / "kek.json").read_bytes()) == content


@pytest.mark.parametrize(("provider", "words"), [("aws", "AWS KMS"), ("pkcs11", "PIN file")])
def test_a_key_service_that_is_not_there_is_told(run, tmp_path, provider, words):
    """Nothing starts without its keys: the command ends with 2 and says what is missing."""
    env = {"GATEWAY__KMS__PROVIDER": provider, "AWS_EC2_METADATA_DISABLED": "true", "GATEWAY__KMS__AWS_KEY": "alias/none"}
    env |= {"GATEWAY__KMS__AWS_REGION": "eu-central-1", "GATEWAY__KMS__AWS_ENDPOINT": "http://127.0.0.1:9"}
    env |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    for command in ("init", "status"):
        told = run("keys", command, env=env)
        assert told.exit_code == 2, told.output
        assert words in told.output
    assert not (tmp_path / "var").exists()


LIVER = {"1920-8": (50, "U/L"), "1742-6": (40, "U/L"), "777-3": (150, "10*9/L")}  # AST, ALT, platelets


def liver_record(tmp_path, tests, *, born="1960-01-01", upper_limit=None):
    """Write a Bundle with liver tests of one day; return its path."""
    subject = {"reference": "Patient/liver"}
    entries = [{"resourceType": "Patient", "id": "liver", "gender": "female", "birthDate": born}]
    for code, (value, unit) in tests.items():
        quantity = {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
        observation = {"resourceType": "Observation", "id": f"o-{code}", "status": "final", "subject": subject, "valueQuantity": quantity}
        observation |= {"code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "effectiveDateTime": "2026-01-05"}
        if upper_limit is not None:
            observation["referenceRange"] = [{"high": {"value": upper_limit, "unit": unit, "code": unit}}]
        entries.append(observation)
    path = tmp_path / "liver.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]}))
    return path


def assessed_risks(run, path, model):
    """Return the RiskAssessments of one model about a record that is declared complete."""
    return risk_answers(run, path, model, "2026-01-06T00:00:00Z")


def test_an_index_is_a_score_and_never_a_percentage(run, tmp_path):
    """FIB-4: the number stands in the extension and in the rationale, the band in qualitativeRisk; no probability, no period."""
    (answer,) = assessed_risks(run, liver_record(tmp_path, LIVER), "fib4")
    (prediction,) = answer["prediction"]
    assert answer["status"] == "final"
    assert not {"probabilityDecimal", "probabilityRange", "whenPeriod"} & prediction.keys()
    assert "3.48" in prediction["rationale"]
    assert "high" in json.dumps(prediction["qualitativeRisk"])
    assert 3.48 in [extension.get("valueDecimal") for extension in prediction["extension"]]


@pytest.mark.parametrize(
    ("tests", "born", "caution"),
    [(LIVER, "1996-01-01", "CAUTION:age_18_34"), (LIVER | {"1920-8": (900, "U/L")}, "1960-01-01", "CAUTION:acute_liver_injury")],
)
def test_an_index_without_a_band_says_why(run, tmp_path, tests, born, caution):
    """Too young, or an acute injury: the number with a caution, and no band."""
    (answer,) = assessed_risks(run, liver_record(tmp_path, tests, born=born), "fib4")
    assert answer["status"] == "preliminary"
    assert "qualitativeRisk" not in answer["prediction"][0]
    assert caution.removeprefix("CAUTION:") in json.dumps(answer)


def test_a_fallback_needs_the_laboratory_s_own_limit(run, tmp_path):
    """Without ALT: APRI where the AST's reference range is known, nothing where it would have to be guessed."""
    without_alt = {code: found for code, found in LIVER.items() if code != "1742-6"}
    own, other = assessed_risks(run, liver_record(tmp_path, without_alt, upper_limit=40), "fib4")
    assert own["status"] == "cancelled"
    assert "0.83" in json.dumps(other["prediction"])  # 50 / 40 * 100 / 150
    assert "APRI" in json.dumps(other["method"])
    (alone,) = assessed_risks(run, liver_record(tmp_path, without_alt), "fib4")
    assert alone["status"] == "cancelled"


ATRIAL_FIBRILLATION, HEART_FAILURE, STROKE = "49436004", "84114007", "230690007"  # SNOMED CT


def heart_record(tmp_path, *codes, in_use=True):
    """Write a Bundle with active conditions of a woman of 70; return its path."""
    subject = {"reference": "Patient/heart"}
    entries = [{"resourceType": "Patient", "id": "heart", "gender": "female", "birthDate": "1955-06-01"}]
    active = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
    confirmed = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "confirmed"}]}
    entries += [
        {
            "resourceType": "Condition",
            "id": f"c-{code}",
            "subject": subject,
            "clinicalStatus": active,
            "verificationStatus": confirmed,
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": code}]},
            "recordedDate": "2025-03-01",
        }
        for code in codes
    ]
    if in_use:
        visit = {"resourceType": "Encounter", "id": "e", "status": "finished", "subject": subject, "class": {"code": "AMB"}}
        entries.append(visit | {"period": {"start": "2025-12-01", "end": "2025-12-01"}})
    path = tmp_path / "heart.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]}))
    return path


@pytest.mark.parametrize(
    ("codes", "in_use", "status", "says"),
    [
        ((ATRIAL_FIBRILLATION, HEART_FAILURE, STROKE), True, "final", "5"),  # 1 + 2, 65 to 74 years 1, woman 1
        ((ATRIAL_FIBRILLATION,), True, "final", "2"),
        ((HEART_FAILURE,), True, "final", "no active atrial fibrillation"),
        ((ATRIAL_FIBRILLATION,), False, "cancelled", "MISSING_INPUT:chf"),
    ],
    ids=["points", "concluded absences", "not made for this patient", "absence unknown"],
)
def test_a_score_made_of_conditions(run, tmp_path, codes, in_use, status, says):
    """CHA2DS2-VASc: only with atrial fibrillation, "no" only by the absence rule, its codes from the release itself."""
    (answer,) = assessed_risks(run, heart_record(tmp_path, *codes, in_use=in_use), "cha2ds2vasc")
    assert answer["status"] == status
    told = answer["prediction"][0]["extension"]
    numbers = [extension[kind] for extension in told for kind in ("valueDecimal", "valueInteger") if kind in extension]
    assert numbers == ([int(says)] if says.isdecimal() else [])
    assert says in json.dumps(answer)


# LOINC: bilirubin, sodium, INR, creatinine, albumin; the example of Kim 2021, table 4, that gives 16
MELD_TESTS = {
    "1975-2": (2.5, "mg/dL"),
    "2951-2": (131, "mmol/L"),
    "6301-6": (1.0, "{INR}"),
    "2160-0": (1.2, "mg/dL"),
    "1751-7": (3.8, "g/dL"),
}


def test_a_score_and_a_probability_in_one_answer(run, tmp_path):
    """MELD 3.0 of a woman: 17 points without a percentage, the risk of death with its 90 days; what is assumed is said."""
    (answer,) = assessed_risks(run, liver_record(tmp_path, MELD_TESTS), "meld3")
    points, death = answer["prediction"]
    assert answer["status"] == "preliminary"  # dialysis is assumed, and whether she takes a vitamin K antagonist is not known
    assert "ASSUMED:dialysis=0" in json.dumps(answer["extension"])
    assert "probabilityDecimal" not in points
    assert 17 in [extension.get("valueDecimal", extension.get("valueInteger")) for extension in points["extension"]]
    assert death["probabilityDecimal"] == 3.226  # 100 * (1 - 0.967744746...), the vector MELD3-002
    assert death["whenPeriod"]["start"][:10] == "2026-01-06"
    assert death["whenPeriod"]["end"][:10] == "2026-04-06"


def test_a_minor_gets_the_points_and_no_survival_figure(run, tmp_path):
    """From 12 to 17 years: the other output is withheld with its own code."""
    (answer,) = assessed_risks(run, liver_record(tmp_path, MELD_TESTS, born="2010-01-01"), "meld3")
    assert "AGE_12_17" in json.dumps(answer["extension"])
    assert [prediction.get("probabilityDecimal") for prediction in answer["prediction"]] == [None, None]


@pytest.mark.parametrize(("absent", "score"), [("1751-7", "MELD-Na"), ("2951-2", "original version"), ("1975-2", None)])
def test_the_chain_of_older_versions(run, tmp_path, absent, score):
    """No albumin: MELD-Na. No sodium: the original. No bilirubin: nothing. Never in the place of MELD 3.0."""
    own, *others = assessed_risks(
        run, liver_record(tmp_path, {code: found for code, found in MELD_TESTS.items() if code != absent}), "meld3"
    )
    assert own["status"] == "cancelled"
    assert len(others) == (score is not None)
    assert score is None or score in json.dumps(others[0]["method"])


def signing_key(tmp_path, mode=0o400):
    """Write a private key; return its file."""
    path = tmp_path / "signing.pem"
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


def test_a_release_is_signed_and_counts_where_its_key_is_trusted(run, tmp_path, config):
    """The last line of `models sign` is what `models.trusted_keys` takes; without it the same folder is refused."""
    folder = Path(shutil.copytree(SHIPPED_MODELS / "fib4", tmp_path / "models" / "fib4")) / "1.0.0"
    told = run("models", "sign", folder, "--key", signing_key(tmp_path))
    assert told.exit_code == 0, told.output
    key = told.stdout.splitlines()[-1]
    base = f'[models]\nfolder = "{tmp_path}/models"\n'
    assert "no trusted key" in run("models", "list", "--config", config(more=base)).output
    listed = run("models", "list", "--config", config(more=base + f'trusted_keys = ["{key}"]'))
    assert (listed.exit_code, "fib4 1.0.0" in listed.stdout) == (0, True)


def test_a_key_that_others_may_read_signs_nothing(run, tmp_path):
    """Nor does a file that is no key, or a folder without files."""
    folder = Path(shutil.copytree(SHIPPED_MODELS / "fib4", tmp_path / "models" / "fib4")) / "1.0.0"
    before = (folder / "SHA256SUMS.sig").read_bytes()
    (tmp_path / "noise").write_text("noise")
    (tmp_path / "noise").chmod(0o400)
    (tmp_path / "nothing").mkdir()
    open_to_all = signing_key(tmp_path, 0o444)
    for where, key, says in (
        (folder, open_to_all, "0400"),
        (folder, tmp_path / "noise", "cannot be read"),
        (folder, tmp_path / "none", "cannot be read"),
    ):
        told = run("models", "sign", where, "--key", key)
        assert (told.exit_code, says in told.output) == (2, True), told.output
    assert (folder / "SHA256SUMS.sig").read_bytes() == before
    open_to_all.chmod(0o400)
    assert "no files" in run("models", "sign", tmp_path / "nothing", "--key", open_to_all).output


def test_a_new_release_and_what_is_wrong_with_it(run, tmp_path):
    """`models new` writes what `models lint` then reads: status 1 while something is wrong, 2 for a name or a folder that cannot be."""
    assert "written" in shown(run("models", "new", "mine"))
    told = shown(run("models", "lint", "models/mine/0.1.0"), 1)
    assert told.splitlines() == ["model.onnx: is missing", "vectors.csv: holds no row"]
    assert "nothing is wrong" in shown(run("models", "lint", SHIPPED_MODELS / "cha2ds2vasc" / "1.0.0"))
    for arguments in (("new", "mine"), ("new", "My Model"), ("lint", "nowhere")):
        assert run("models", *arguments).exit_code == 2
    assert as_json(run("models", "schema"))["$schema"].startswith("https://json-schema.org/")
