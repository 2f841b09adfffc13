"""Who calls, for which hospital and for what purpose. Exists from the first day so that nothing runs anonymously."""

import enum
from typing import NewType

import msgspec

TenantId = NewType("TenantId", str)
RequestId = NewType("RequestId", str)


class Purpose(enum.StrEnum):
    """Why a record is opened: HL7 v3 ActReason, codes of PurposeOfUse."""

    TREATMENT = "TREAT"
    EMERGENCY_TREATMENT = "ETREAT"
    BREAK_GLASS = "BTG"
    OPERATIONS = "HOPERAT"
    PATIENT_REQUEST = "PATRQT"
    RESEARCH = "HRESCH"


class Permission(enum.StrEnum):
    """What a caller may do; everything not listed for a caller is denied."""

    ASSESS = "assess"
    ASSESS_RETROSPECTIVE = "assess.retrospective"
    CDS = "cds"
    INFER = "infer"
    AUDIT_READ = "audit.read"
    MODEL_READ = "model.read"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated client and, where known, the person behind it. A record without an actor cannot be built."""

    client_id: str
    tenant: TenantId
    user: str | None = None
    purpose: Purpose = Purpose.TREATMENT
    permissions: frozenset[Permission] = frozenset()

    def __post_init__(self) -> None:
        if not self.client_id or not self.tenant:
            raise ValueError("a caller needs a client id and a tenant")

    def may(self, permission: Permission) -> bool:
        """Tell whether the permission was granted."""
        return permission in self.permissions
