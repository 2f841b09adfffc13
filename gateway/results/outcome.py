"""OperationOutcome: what went wrong, with our own stable code; no PHI, no echo, no trace."""

from gateway.errors import GatewayError
from gateway.results.extension import ERROR_SYSTEM


def operation_outcome(error: GatewayError) -> dict[str, object]:
    """Return the OperationOutcome of an error."""
    issue: dict[str, object] = {
        "severity": "error",
        "code": error.issue_type,
        "details": {"coding": [{"system": ERROR_SYSTEM, "code": error.code.value}], "text": error.public},
    }
    if error.expression:
        issue["expression"] = [error.expression]
    return {"resourceType": "OperationOutcome", "issue": [issue]}
