"""What to ask a FHIR server for: a plan is data, compiled from the inputs that models declare."""

from collections.abc import Container

import msgspec

from gateway.fhir.group import Group


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """One search: `resource_type?{parameters}`; `patient` is added by the client. Values are not yet percent-encoded."""

    group: Group
    resource_type: str
    parameters: tuple[tuple[str, str], ...] = ()


class FetchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The Patient read plus these searches, at most one per group."""

    searches: tuple[Search, ...]

    @property
    def groups(self) -> frozenset[Group]:
        """Return the groups this plan fills, the Patient among them."""
        return frozenset({Group.PATIENT, *(search.group for search in self.searches)})

    def without(self, groups: Container[Group]) -> "FetchPlan":
        """Return the plan less the searches of these groups."""
        return FetchPlan(searches=tuple(search for search in self.searches if search.group not in groups))
