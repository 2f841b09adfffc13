"""The errors of the gateway.

    GatewayError                     anything we raise on purpose
    ├── BadRequest        400        the caller's request is malformed
    ├── NotAuthenticated  401        no or bad credentials; says no reason
    ├── NotAllowed        403
    ├── NotFound          404
    ├── Conflict          409
    ├── PreconditionFailed 412       CDS Hooks: needed data unavailable, identity of the patient disagrees
    ├── TooLarge          413
    ├── Upstream          502 / 504  the FHIR server did not give what was asked
    └── Unavailable       503        the audit record is not durable, or nothing can answer

An error carries two texts: `public`, safe for any caller (no PHI, no echo of input), and `detail`, for our own log (no PHI either,
but it may name internals). The table of codes in docs/errors.md is generated from `CODES`.
"""

import enum


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
    BODY_TOO_LARGE = "body-too-large"
    BODY_TOO_DEEP = "body-too-deep"
    AUDIT_UNAVAILABLE = "audit-unavailable"
    NO_ESTIMATE_POSSIBLE = "no-estimate-possible"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting-down"
    INTERNAL = "internal"


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


class Conflict(GatewayError):
    """The same idempotency key was used with another request."""

    http_status = 409
    issue_type = "conflict"


class PreconditionFailed(GatewayError):
    """CDS Hooks: data that the service needs is unavailable, or the patient's identity disagrees."""

    http_status = 412
    issue_type = "required"


class TooLarge(GatewayError):
    """A limit of ours was exceeded."""

    http_status = 413
    issue_type = "too-long"


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
