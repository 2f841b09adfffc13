"""Every limit and choice of the FHIR client, named: no default of a library decides (rules 13 of the design)."""

import enum

import msgspec


class BatchMode(enum.StrEnum):
    """When the searches of a pull travel as one batch Bundle."""

    AUTO = "auto"  # the server lists the interaction, and a batch was seen to return more than a default page
    NEVER = "never"
    ALWAYS = "always"  # the operator vouches for the server


class TotalMode(enum.StrEnum):
    """Whether searches ask for `_total=accurate`, by which a page lost without a link is noticed."""

    AUTO = "auto"  # asked; an empty answer is not believed until the server was seen to understand the parameter
    NEVER = "never"
    ALWAYS = "always"  # the operator vouches for the server


class FhirLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one FHIR source. Times in seconds, sizes in bytes after decompression."""

    requests_at_once_max: int = 6  # of one pull
    connections_max: int = 24  # of the source, over all pulls
    pulls_at_once_max: int = 16  # bulkhead: one slow source does not take every worker
    page_entries: int = 1000  # `_count`: a forgotten one silently truncates at 10 to 50 (fhir.md 5)
    pages_max: int = 20  # of one search
    entries_max: int = 20_000  # of one search
    body_bytes_max: int = 32 * 2**20  # of one response
    pull_bytes_max: int = 96 * 2**20  # of one pull
    inflate_ratio_max: int = 200  # decompressed to compressed, judged beyond the first MiB
    connect_s_max: float = 3.0
    attempts_max: int = 3  # of one GET
    backoff_s_first: float = 0.1
    backoff_s_max: float = 2.0
    reserve_s: float = 0.5  # kept back from the deadline for the model and the audit record
    reserve_share_max: float = 0.2  # but never more than this share of what is left
    breaker_failures: int = 5  # pulls in a row whose Patient could not be fetched
    breaker_open_s: float = 10.0
    capability_life_s: float = 86_400.0
    capability_wait_s_max: float = 30.0
    refusal_life_s: float = 86_400.0  # how long a capability that was refused is not tried again
    failure_life_s: float = 60.0  # how long a batch that failed for a passing reason is not tried again

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"the limit {name} must be positive")
        if self.reserve_share_max >= 1:
            raise ValueError("the limit reserve_share_max must leave something of the deadline")

    def budget_s(self, remaining_s: float) -> float:
        """Return how much of the remaining time a pull may use, so that an answer can still be made of what came."""
        return max(0.0, remaining_s - min(self.reserve_s, self.reserve_share_max * remaining_s))


class SourcePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to speak to one FHIR server.

    `harmless_outcomes` are codes of `OperationOutcome.issue.details.coding` that this server attaches to complete results; an outcome
    entry with any other code makes its group incomplete (rules 3).
    `ca_file`: PEM file of the authorities to trust instead of the system's, for a server with a certificate of the hospital's own.
    """

    batch: BatchMode = BatchMode.AUTO
    total: TotalMode = TotalMode.AUTO
    compression: bool = True
    harmless_outcomes: frozenset[str] = frozenset()
    ca_file: str | None = None
