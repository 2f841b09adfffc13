"""Words for people, errors for programs, and what the FHIR edge says of itself."""

import re

import msgspec
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationdefinition import OperationDefinition
from fhir.resources.R4B.operationoutcome import OperationOutcome

from gateway.errors import BadRequest, ErrorCode, GatewayError
from gateway.features.value import InputState
from gateway.quality.report import SettingSource, Verdict
from gateway.record.reason import Reason, ReasonCode
from gateway.results.answer import Rung
from gateway.results.conformance import OPERATION_URL, capability_statement, operation_definition
from gateway.results.outcome import operation_outcome
from gateway.results.plain import describe
from gateway.results.words import REASONS, RUNGS, SETTING_SOURCES, STATES, VERDICTS, reason_words, reasons_words, value_words

# http://hl7.org/fhir/R4/valueset-issue-type.html (required binding).
ISSUE_TYPES = {
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired", "forbidden",
    "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long",
    "code-invalid", "extension", "too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store", "exception",
    "timeout", "incomplete", "throttled", "informational",
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "codes"), [(REASONS, ReasonCode), (STATES, InputState), (VERDICTS, Verdict), (RUNGS, Rung), (SETTING_SOURCES, SettingSource)]
)
def test_every_code_has_words(table, codes):
    """No reason, state, verdict, rung or source of a setting is ever shown as a bare code."""
    assert set(table) == set(codes)
    assert all(words and not re.search(r"[A-Z]{3}_|[a-z]_[a-z]", words) for words in table.values())


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason(ReasonCode.MISSING_INPUT, "total_cholesterol"), "total cholesterol: missing"),
        (Reason(ReasonCode.STALE_INPUT, "sbp"), "sbp: too old"),
        (Reason(ReasonCode.DECEASED), "the patient is recorded as deceased"),
        (Reason(ReasonCode.CAUTION, "newer_unusable:sbp"), "caution: sbp: a newer value exists that cannot be used"),
        (Reason(ReasonCode.CAUTION, "old:hba1c"), "caution: hba1c: rather old"),
        (Reason(ReasonCode.ASSUMED, "dialysis=no"), "assumed: dialysis=no"),
    ],
)
def test_reason_reads_as_words(reason, words):
    """A reason is told in words with its subject."""
    assert reason_words(reason) == words


def test_reasons_of_one_kind_are_told_together():
    """Three missing inputs are one statement, not three."""
    reasons = [Reason(ReasonCode.MISSING_INPUT, name) for name in ("sbp", "smoker", "sbp")] + [Reason(ReasonCode.PREGNANCY)]
    assert reasons_words(reasons) == "missing: sbp, smoker; the patient is pregnant"


def test_computed_value_shows_number_and_origin(answers):
    """A value that a model computed is told as a number with its unit, and by what it was computed; a yes or no by its text."""
    inputs = answers.cases()["complete"].answers[-1].report.inputs
    assert value_words(inputs["egfr"]) == "88.5 mL/min/{1.73_m2}, computed by CKD-EPI 2021 eGFR (creatinine) (2026-06-05)"
    assert value_words(inputs["sex"]) == "female"
    assert value_words(inputs["hba1c"]) == "missing"


def test_lines_tell_verdict_numbers_and_what_was_not_usable(answers):
    """The lines tell verdict, rung, numbers with one decimal, what was found, and why each other input could not be used."""
    lines = "\n".join(describe(answers.cases()["stale cholesterol"]))
    for words in (
        "Patient/p as of 2026-06-15T12:00:00+00:00",
        "Estimated glomerular filtration rate: 89 mL/min/1.73m2",
        "PREVENT 1.0.0: scored with cautions or in part: too old: total cholesterol, hdl cholesterol",
        "answered by: model on CPU; care setting ambulatory (by default)",
        "10-year risk of heart failure: 8.1 %",
        "10-year risk of total cardiovascular disease: no number: too old",
        "fallback Framingham general cardiovascular risk (BMI form)",
        "not usable: total_cholesterol 210 mg/dL (2015-07-03): total cholesterol: too old",
    ):
        assert words in lines, words


def test_lines_never_show_a_number_where_there_is_none(answers):
    """Without an estimate no percentage stands anywhere, and the reason does."""
    cases = answers.cases()
    for name in ("no smoking status: no estimate", "laboratory not fetched", "laboratory not allowed", "prior heart disease", "deceased"):
        lines = "\n".join(describe(cases[name]))
        assert " %" not in lines, name
    assert "known cardiovascular disease, already above primary-prevention risk" in "\n".join(describe(cases["prior heart disease"]))
    assert "retrospective: what came later is left out; statuses are today's" in "\n".join(describe(cases["retrospective"]))


def kinds_of_error():
    found, waiting = [], [GatewayError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", kinds_of_error(), ids=lambda kind: kind.__name__)
def test_error_is_a_valid_operation_outcome(kind):
    """Each kind of error gives a valid OperationOutcome with our own code, and nothing of what is meant for the log."""
    outcome = operation_outcome(kind(ErrorCode.INTERNAL, "Said to anyone.", detail="secret detail", expression="Parameters.parameter[0]"))
    OperationOutcome.model_validate(outcome)
    issue = outcome["issue"][0]
    assert issue["severity"] == "error"
    assert issue["code"] in ISSUE_TYPES
    assert issue["details"]["coding"][0]["code"] == "internal"
    assert issue["expression"] == ["Parameters.parameter[0]"]
    assert "secret" not in str(outcome)


def test_error_without_a_place_names_none():
    """Where no element is to blame, no empty list stands in for it."""
    assert "expression" not in operation_outcome(BadRequest(ErrorCode.MALFORMED_JSON, "Not JSON."))["issue"][0]


def test_capability_statement_is_valid_and_names_the_operation():
    """FHIR 4.0.1, kind instance, JSON, and `$assess-risk` at both levels; the date is given, never the clock's."""
    statement = capability_statement("2026-11-24", "0.1.0", "https://gateway.example/fhir")
    CapabilityStatement.model_validate(statement)
    assert (statement["fhirVersion"], statement["kind"], statement["date"]) == ("4.0.1", "instance", "2026-11-24")
    assert "json" in statement["format"]
    rest = statement["rest"][0]
    operation = [{"name": "assess-risk", "definition": OPERATION_URL}]
    assert rest["operation"] == rest["resource"][0]["operation"] == operation
    assert "url" not in capability_statement("2026-11-24", "0.1.0", "")["implementation"]


def test_operation_definition_is_valid_and_answers_with_one_bundle():
    """The one out parameter is `return`, a Bundle, so that the Bundle itself is the body (rules 2)."""
    definition = operation_definition("2026-11-24")
    OperationDefinition.model_validate(definition)
    declared = {each["name"]: (each["use"], each["min"], each["max"], each["type"]) for each in definition["parameter"]}
    assert {name for name, said in declared.items() if said[0] == "out"} == {"return"}
    assert declared["return"] == ("out", 1, "1", "Bundle")
    assert declared["model"] == ("in", 0, "*", "string")
    assert {name: said[3] for name, said in declared.items()} == {
        "model": "string", "asOf": "dateTime", "setting": "code", "patient": "Reference", "record": "Bundle", "recordComplete": "boolean",
        "return": "Bundle",
    }  # fmt: skip


def test_dropped_resources_are_counted_in_the_lines(answers):
    """What was not used of a record is at least counted for the person who asked."""
    answer = answers.cases()["complete"]
    dropped = msgspec.structs.replace(answer, dropped=(object(), object()))
    assert "  2 resources or elements were not used" in describe(dropped)
