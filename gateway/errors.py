"""The errors of the gateway.

    GatewayError                     anything we raise on purpose
    ├── BadRequest        400        the caller's request is malformed
    ├── NotAuthenticated  401        no or bad credentials; says no reason
    ├── NotAllowed        403
    ├── NotFound          404
    ├── NotAcceptable     406        only JSON is spoken here
    ├── PreconditionFailed 412       CDS Hooks: needed data unavailable, identity of the patient disagrees
    ├── TooLarge          413
    ├── UnsupportedMedia  415        the body is not declared as JSON
    ├── Upstream          502 / 504  the FHIR server did not give what was asked
    ├── NotApplicable     422        a bare inference was asked for a number that does not apply
    └── Unavailable       503        the audit record is not durable, or nothing can answer

An error carries two texts: `public`, safe for any caller (no PHI, no echo of input), and `detail`, for our own log (no PHI either,
but it may name internals). The table of codes in docs/errors.md is generated from `CODES`.
"""

import enum
import sys
from collections.abc import Mapping
from typing import NamedTuple


class ErrorCode(enum.StrEnum):
    """Stable codes, part of the public contract: a code never changes its meaning."""

    MALFORMED_JSON = "malformed-json"
    MALFORMED_PARAMETERS = "malformed-parameters"
    UNKNOWN_PARAMETER = "unknown-parameter"
    UNKNOWN_MODEL = "unknown-model"
    INVALID_AS_OF = "invalid-as-of"
    INVALID_SETTING = "invalid-setting"
    INVALID_PATIENT_ID = "invalid-patient-id"
    INVALID_RECORD = "invalid-record"
    INVALID_CDS_REQUEST = "invalid-cds-request"
    HOOK_MISMATCH = "hook-mismatch"
    UNKNOWN_CDS_SERVICE = "unknown-cds-service"
    PATIENT_MISMATCH = "patient-mismatch"
    PREFETCH_MISSING = "prefetch-missing"
    NOT_AUTHENTICATED = "not-authenticated"
    FORBIDDEN = "forbidden"
    RETROSPECTIVE_FORBIDDEN = "retrospective-forbidden"
    PATIENT_NOT_FOUND = "patient-not-found"
    PATIENT_FORBIDDEN = "patient-forbidden"
    PATIENT_NOT_FETCHED = "patient-not-fetched"
    PATIENT_TIMEOUT = "patient-timeout"
    NO_FHIR_SERVER = "no-fhir-server"
    UNKNOWN_ROUTE = "unknown-route"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    NOT_ACCEPTABLE = "not-acceptable"
    BODY_TOO_LARGE = "body-too-large"
    BODY_TOO_DEEP = "body-too-deep"
    INVALID_TENSOR = "invalid-tensor"
    OUTPUT_NOT_APPLICABLE = "output-not-applicable"
    MODEL_UNAVAILABLE = "model-unavailable"
    AUDIT_UNAVAILABLE = "audit-unavailable"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting-down"
    INTERNAL = "internal"


class Meaning(NamedTuple):
    """What a code says to an integrator: the HTTP statuses under which it comes, what happened, and what to do about it."""

    statuses: tuple[int, ...]
    words: str
    remedy: str


# The one place for these texts: docs/errors.md is printed from here.
CODES: Mapping[ErrorCode, Meaning] = {
    ErrorCode.MALFORMED_JSON: Meaning(
        (400,), "The body is not strict JSON in UTF-8, or did not arrive whole.", "Send UTF-8 JSON without repeated keys."
    ),
    ErrorCode.MALFORMED_PARAMETERS: Meaning(
        (400,), "The body is not a Parameters resource of the declared form.", "See the OperationDefinition."
    ),
    ErrorCode.UNKNOWN_PARAMETER: Meaning(
        (400,), "A parameter has a name that the operation does not declare.", "See the OperationDefinition."
    ),
    ErrorCode.UNKNOWN_MODEL: Meaning(
        (400, 404), "No model of this name is released here.", "Ask `gateway models list`, or leave `model` out."
    ),
    ErrorCode.INVALID_AS_OF: Meaning(
        (400,), "`asOf` is not a date, or a dateTime with a time zone.", "Write `2026-03-01` or `2026-03-01T08:00:00Z`."
    ),
    ErrorCode.INVALID_SETTING: Meaning((400,), "`setting` is not a care setting.", "Send `ed`, `inpatient` or `ambulatory`."),
    ErrorCode.INVALID_PATIENT_ID: Meaning(
        (400,), "The patient id is not a FHIR id.", "Send the id alone: letters, digits, `-` and `.`, at most 64."
    ),
    ErrorCode.INVALID_RECORD: Meaning(
        (400,), "The inline record cannot be read as the record of one patient.", "Send a Bundle with exactly one Patient."
    ),
    ErrorCode.INVALID_CDS_REQUEST: Meaning((400,), "The CDS Hooks request lacks a required field.", "See the CDS Hooks specification."),
    ErrorCode.HOOK_MISMATCH: Meaning((400,), "The service does not answer this hook.", "See `GET /cds-services`."),
    ErrorCode.UNKNOWN_CDS_SERVICE: Meaning((404,), "There is no such CDS service.", "See `GET /cds-services`."),
    ErrorCode.PATIENT_MISMATCH: Meaning(
        (400, 412), "The parts of the request name different patients.", "Check which patient is meant before asking again."
    ),
    ErrorCode.PREFETCH_MISSING: Meaning((412,), "Needed data was neither prefetched nor can be fetched.", "Send the named prefetch keys."),
    ErrorCode.NOT_AUTHENTICATED: Meaning((401,), "No credentials, or bad ones. The reason is never told.", "Check the credentials."),
    ErrorCode.FORBIDDEN: Meaning((403,), "This caller may not do that.", "Ask the operator for the permission."),
    ErrorCode.RETROSPECTIVE_FORBIDDEN: Meaning(
        (403,), "This caller may not ask about the past.", "Leave `asOf` out, or ask for the permission."
    ),
    ErrorCode.PATIENT_NOT_FOUND: Meaning((404,), "The FHIR server knows no such Patient.", "Check the id."),
    ErrorCode.PATIENT_FORBIDDEN: Meaning(
        (403,), "The FHIR server does not let this gateway see the Patient.", "Ask the FHIR server's operator."
    ),
    ErrorCode.PATIENT_NOT_FETCHED: Meaning(
        (502,), "The FHIR server did not give the Patient.", "Try again; `gateway doctor` checks the server."
    ),
    ErrorCode.PATIENT_TIMEOUT: Meaning(
        (504,), "The FHIR server did not give the Patient in time.", "Try again; `gateway doctor` checks the server."
    ),
    ErrorCode.NO_FHIR_SERVER: Meaning(
        (412,), "No FHIR server is configured to read the record from.", "Send the record inline, or set `fhir.base_url`."
    ),
    ErrorCode.UNKNOWN_ROUTE: Meaning((404,), "There is nothing at this address.", "See `GET /fhir/metadata`."),
    ErrorCode.METHOD_NOT_ALLOWED: Meaning((405,), "The address does not answer this method.", "See `GET /fhir/metadata`."),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: Meaning(
        (415,), "The body is not declared as JSON.", "Send `application/fhir+json` or `application/json`."
    ),
    ErrorCode.NOT_ACCEPTABLE: Meaning(
        (406,), "The caller accepts no JSON, and nothing else is spoken here.", "Accept `application/fhir+json` or `application/json`."
    ),
    ErrorCode.BODY_TOO_LARGE: Meaning(
        (413,), "The body is larger than this server accepts.", "Send less, or let the gateway pull the record."
    ),
    ErrorCode.BODY_TOO_DEEP: Meaning((413,), "The body is nested deeper than this server accepts.", "Send a flatter document."),
    ErrorCode.INVALID_TENSOR: Meaning(
        (400,), "The inputs are not those that the model's metadata names, or hold no finite number.", "See `GET /v2/models/{model}`."
    ),
    ErrorCode.OUTPUT_NOT_APPLICABLE: Meaning(
        (422,), "An output that was asked for by name does not apply to every row.", "Leave `outputs` out and read `applicable`."
    ),
    ErrorCode.MODEL_UNAVAILABLE: Meaning((503,), "The model gave no believable result in time.", "Try again after `Retry-After`."),
    ErrorCode.AUDIT_UNAVAILABLE: Meaning(
        (503,), "The audit record could not be made durable in time, so there is no answer.", "Try again after `Retry-After`."
    ),
    ErrorCode.OVERLOADED: Meaning((503,), "Too many requests are in work.", "Try again after `Retry-After`."),
    ErrorCode.SHUTTING_DOWN: Meaning((503,), "The gateway is stopping.", "Try again after `Retry-After`."),
    ErrorCode.INTERNAL: Meaning((500,), "The gateway failed; nothing was answered.", "Report it with the request id."),
}


class GatewayError(Exception):
    """Anything the gateway raises on purpose.

    `public` may be shown to anyone; `detail` is for the log. Neither may hold PHI or the caller's own text.
    """

    http_status = 500
    issue_type = "exception"  # FHIR IssueType code
    retry_after_s: int | None = None

    def __init__(self, code: ErrorCode, public: str, *, detail: str = "", expression: str | None = None) -> None:
        super().__init__(public)
        self.code = code
        self.public = public
        self.detail = detail
        self.expression = expression  # FHIRPath of the offending element, never its value
        self.recorded = False  # set once the audit log holds the refusal


class BadRequest(GatewayError):
    """The request is malformed; repeating it unchanged cannot help."""

    http_status = 400
    issue_type = "invalid"


class NotAuthenticated(GatewayError):
    """No credentials, or bad ones. The reason is never told."""

    http_status = 401
    issue_type = "login"


class NotAllowed(GatewayError):
    """Known caller, but the permission is missing."""

    http_status = 403
    issue_type = "forbidden"


class NotFound(GatewayError):
    """The named thing does not exist."""

    http_status = 404
    issue_type = "not-found"


class NotAcceptable(GatewayError):
    """The caller accepts none of the media types that are spoken here."""

    http_status = 406
    issue_type = "not-supported"


class PreconditionFailed(GatewayError):
    """CDS Hooks: data that the service needs is unavailable, or the patient's identity disagrees."""

    http_status = 412
    issue_type = "required"


class TooLarge(GatewayError):
    """A limit of ours was exceeded."""

    http_status = 413
    issue_type = "too-long"


class UnsupportedMedia(GatewayError):
    """The body is not declared as JSON."""

    http_status = 415
    issue_type = "not-supported"


class NotApplicable(GatewayError):
    """A number was asked for that does not apply to what was sent."""

    http_status = 422
    issue_type = "business-rule"


class Upstream(GatewayError):
    """The FHIR server did not give the Patient: 502."""

    http_status = 502
    issue_type = "transient"


class UpstreamTimeout(Upstream):
    """The FHIR server did not give the Patient in time: 504."""

    http_status = 504
    issue_type = "timeout"


class Unavailable(GatewayError):
    """Nothing may be answered now; the same request may succeed later."""

    http_status = 503
    issue_type = "transient"
    retry_after_s = 2


class ModelRefused(Exception):
    """A release or its graph may not be served. Raised at start-up or reload, never by a request; says where and why, with no PHI."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def render_documentation() -> str:
    """Return docs/errors.md."""
    lines = [
        "# Error codes",
        "",
        "An error is an OperationOutcome; `issue.details.coding.code` holds one of these codes. A code never changes its meaning.",
        'Under `/v2` an error is `{"error": text, "code": code}`.',
        "Neither the text nor the `expression` repeats what was sent. `X-Request-Id` finds the request in the gateway's log.",
        "",
        "This page is generated (`python -m gateway.errors > docs/errors.md`); a test fails when it is stale.",
        "",
        "| code | HTTP status | what happened | what to do |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{code.value}` | {', '.join(map(str, entry.statuses))} | {entry.words} | {entry.remedy} |" for code, entry in CODES.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_documentation())
