"""What one search brings, page by page, and what may be concluded from it.

Pure. A group is complete only when every page arrived, nothing in them says otherwise, and no more matches are claimed than came
(rules 3). Everything else is incomplete, not fetched or not allowed: never empty.
"""

from gateway.fhir.bundle import HeldResource, Issue, Page, says_empty_result, says_refused
from gateway.fhir.group import GroupState, RecordPart
from gateway.fhir.limits import FhirLimits
from gateway.fhir.plan import Search

LATE = "time ran out"


class Haul:
    """Collects the pages of one search. `take` each page, follow what it returns, or `fail`; then `part`."""

    def __init__(
        self, search: Search, limits: FhirLimits, *, fallback: Search | None = None, harmless: frozenset[str] = frozenset()
    ) -> None:
        self.search = search
        self.fallback = fallback
        self.finished = False
        self.next_url: str | None = None  # where the next page is, as the server sent it
        self.first_page: tuple[HeldResource, ...] = ()
        self._limits = limits
        self._harmless = harmless
        self._held: list[bytes] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._followed: set[str] = set()
        self._pages = 0
        self._matches = 0
        self._total = 0
        self._state = GroupState.NOT_FETCHED
        self._why = LATE

    @property
    def is_complete(self) -> bool:
        """Tell whether everything that matched is here."""
        return self.finished and self._state is GroupState.COMPLETE

    def take(self, page: Page) -> None:
        """Add one page; afterwards either `finished` is set, or `next_url` says where to go on."""
        self._pages += 1
        self._total = max(self._total, page.total or 0)
        fresh = self._add(page)
        if self._pages == 1:
            self.first_page = page.resources
        self.next_url = None
        trouble = self._trouble_in(page, fresh)
        if trouble is not None:
            self._finish(*trouble)
        elif page.next_url is None:
            self._finish_last()
        else:
            self._followed.add(page.next_url)
            self.next_url = page.next_url

    def fail(self, state: GroupState, why: str) -> None:
        """The next page, or the first, could not be had."""
        self._finish(state, why)

    def part(self) -> RecordPart:
        """Return what arrived. A search that was neither finished nor failed ran out of time."""
        state, why = (self._state, self._why) if self.finished else (GroupState.NOT_FETCHED, LATE)
        if self._pages and state in {GroupState.NOT_FETCHED, GroupState.NOT_ALLOWED} and self._held:
            state = GroupState.INCOMPLETE
        return RecordPart(groups=(self.search.group,), state=state, resources=tuple(self._held), why=why)

    def _add(self, page: Page) -> int:
        """Keep the page's resources that are not here yet and return how many those are."""
        fresh = 0
        for resource in page.resources:
            if resource.id:
                identity = resource.identity
                if identity in self._seen:
                    continue
                self._seen.add(identity)
            fresh += 1
            self._matches += not resource.included
            self._held.append(resource.body)
        return fresh

    def _trouble_in(self, page: Page, fresh: int) -> tuple[GroupState, str] | None:
        """Return state and reason when the page shows that not everything is or will be here."""
        issues = self._serious(page.outcomes)
        if issues and not (says_empty_result(issues) and not self._held):
            refused = says_refused(issues) and not self._held
            return (GroupState.NOT_ALLOWED if refused else GroupState.INCOMPLETE), "the server reported a problem within the result"
        if page.unreadable:
            return GroupState.INCOMPLETE, "an entry of the result is not readable"
        if page.resources and not fresh:
            return GroupState.INCOMPLETE, "a page repeated"
        if page.next_url is not None:
            return self._trouble_ahead(page.next_url)
        return None

    def _trouble_ahead(self, next_url: str) -> tuple[GroupState, str] | None:
        if next_url in self._followed:
            return GroupState.INCOMPLETE, "a page repeated"
        if self._pages >= self._limits.pages_max:
            return GroupState.INCOMPLETE, "more pages than allowed"
        if len(self._held) >= self._limits.entries_max:
            return GroupState.INCOMPLETE, "more entries than allowed"
        return None

    def _serious(self, issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
        """Leave out the issues that are known to come with complete results of this server."""
        if not self._harmless:
            return issues
        return tuple(issue for issue in issues if not issue.details or not self._harmless.issuperset(issue.details))

    def _finish_last(self) -> None:
        if self._total > self._matches:
            self._finish(GroupState.INCOMPLETE, "the server counts more than it sent")
        elif len(self._held) > self._limits.entries_max:
            self._finish(GroupState.INCOMPLETE, "more entries than allowed")
        else:
            self._finish(GroupState.COMPLETE, "")

    def _finish(self, state: GroupState, why: str) -> None:
        self.finished = True
        self.next_url = None
        self._state = state
        self._why = why
