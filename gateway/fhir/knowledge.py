"""What was learned about one source while speaking to it, and for how long it counts.

Nothing here is about a patient. A capability is used only after it was seen to work (rules 3: "Batch counts as proven only after it
returned more entries than the server's default page"); what failed is left alone for a day.
"""

import enum

from gateway.clock import Clock
from gateway.fhir.capability import Capability
from gateway.fhir.group import Group
from gateway.fhir.limits import BatchMode, FhirLimits, SourcePolicy, TotalMode

# Known default pages: 10 (Microsoft), 20 (HAPI, WSO2 in batches), 50 (Oracle Health AI suite); fhir.md 5.
DEFAULT_PAGE_MAX = 50
DEFAULT_PAGE_MIN = 10


class Trust(enum.Enum):
    """How far something may be relied on."""

    OFF = "off"
    UNPROVEN = "unproven"
    PROVEN = "proven"


class SourceKnowledge:
    """The learned state of one source. Times are the clock's monotonic seconds."""

    def __init__(self, clock: Clock, limits: FhirLimits, policy: SourcePolicy) -> None:
        self._clock = clock
        self._limits = limits
        self._policy = policy
        self._batch_proven = False
        self._batch_off_until = 0.0
        self._total_proven = False
        self._total_off_until = 0.0
        self._refused_searches: dict[Group, float] = {}
        self._capability: Capability | None = None
        self._capability_until = 0.0

    @property
    def batch(self) -> Trust:
        """Return whether searches may travel as a batch, and whether its answers are believed without a second look."""
        if self._policy.batch is BatchMode.NEVER or self._clock.monotonic() < self._batch_off_until:
            return Trust.OFF
        return Trust.PROVEN if self._batch_proven else Trust.UNPROVEN

    @property
    def uses_batch(self) -> bool:
        """Tell whether a pull sends its searches as a batch."""
        batch = self.batch
        return batch is Trust.PROVEN or (batch is Trust.UNPROVEN and self._policy.batch is BatchMode.ALWAYS)

    @property
    def may_prove_batch(self) -> bool:
        """Tell whether it is worth finding out if a batch is complete."""
        listed = self._policy.batch is BatchMode.ALWAYS or (self._capability is not None and self._capability.batch)
        return self.batch is Trust.UNPROVEN and listed

    def batch_proved(self) -> None:
        """A batch returned more than a default page, and the same as the search alone."""
        self._batch_proven = True

    def batch_refused(self) -> None:
        """A batch was refused, malformed, or cut off: not again for a day."""
        self._batch_proven = False
        self._batch_off_until = self._clock.monotonic() + self._limits.refusal_life_s

    def batch_failed(self) -> None:
        """A batch failed for a passing reason: not again for a while."""
        self._batch_off_until = self._clock.monotonic() + self._limits.failure_life_s

    @property
    def total(self) -> Trust:
        """Return whether `_total=accurate` is sent, and whether an empty answer to it is believed."""
        if self._policy.total is TotalMode.NEVER or self._clock.monotonic() < self._total_off_until:
            return Trust.OFF
        return Trust.PROVEN if self._total_proven or self._policy.total is TotalMode.ALWAYS else Trust.UNPROVEN

    def total_proved(self) -> None:
        """A search with the parameter returned rows: the server understands or ignores it."""
        self._total_proven = True

    def total_refused(self) -> None:
        """The parameter made a search fail or come back empty."""
        self._total_proven = False
        self._total_off_until = self._clock.monotonic() + self._limits.refusal_life_s

    def search_refused(self, group: Group) -> None:
        """The narrow search of this group was refused, and the wide one was answered."""
        self._refused_searches[group] = self._clock.monotonic() + self._limits.refusal_life_s

    def refuses_search(self, group: Group) -> bool:
        """Tell whether the narrow search of this group is known to be refused."""
        return self._clock.monotonic() < self._refused_searches.get(group, 0.0)

    @property
    def capability(self) -> Capability | None:
        """Return the CapabilityStatement's content while it is fresh."""
        return self._capability if self._clock.monotonic() < self._capability_until else None

    @capability.setter
    def capability(self, capability: Capability) -> None:
        self._capability = capability
        self._capability_until = self._clock.monotonic() + self._limits.capability_life_s
