"""Bundles as they arrive: one pass over the bytes, resources kept raw, nothing concluded from what cannot be read.

Pure: no I/O. A resource stays the bytes that came (a compact copy, so that a page's buffer can be freed); only its type, id and version
are looked at, and for an OperationOutcome its issues. Sources: FHIR R4 Bundle, search ("3.1.1.3 Search result"), batch response.
"""

import enum
from collections.abc import Iterable

import msgspec

SEARCH_TYPES = frozenset({"searchset"})
BATCH_TYPES = frozenset({"batch-response"})

# HL7 CodeSystem operation-outcome: "No Resource found matching the query"; 4101: "Resource request returns no results" (Epic).
EMPTY_RESULT_DETAILS = frozenset({"MSG_NO_MATCH", "4101"})
EMPTY_RESULT_CODES = frozenset({"not-found", "informational"})
REFUSAL_CODES = frozenset({"forbidden", "login", "security", "suppressed"})
HARMLESS_SEVERITIES = frozenset({"information", "warning"})


_OUTCOME_NAME = b'"OperationOutcome"'
_OUTCOME_START = b'{"resourceType":"OperationOutcome"'


class PageProblem(enum.StrEnum):
    """Why a body is not a page, in our own words."""

    EMPTY_BODY = "the server answered without a body"
    NOT_JSON = "the server's answer is not readable as JSON"
    OUTCOME = "the server answered with an OperationOutcome instead of a result"
    NOT_A_BUNDLE = "the server answered with something other than a Bundle"
    WRONG_TYPE = "the server answered with a Bundle of another kind"


class PageError(ValueError):
    """A body that is not a page. Holds no part of the body."""

    def __init__(self, problem: PageProblem) -> None:
        super().__init__(problem.value)
        self.problem = problem


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """One issue of an OperationOutcome: coded parts only, never its text (it may hold PHI)."""

    severity: str = ""
    code: str = ""
    details: tuple[str, ...] = ()


class HeldResource(msgspec.Struct, frozen=True):
    """One resource as received: its head and its bytes. `included` is `search.mode = include`."""

    resource_type: str
    id: str
    version: str
    included: bool
    body: bytes

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what makes it the same resource on two pages: type, id, version."""
        return (self.resource_type, self.id, self.version)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One Bundle. `outcomes` are the issues of its OperationOutcome entries; `unreadable` counts entries that are no resource."""

    resources: tuple[HeldResource, ...] = ()
    next_url: str | None = None
    total: int | None = None
    outcomes: tuple[Issue, ...] = ()
    unreadable: int = 0


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One Bundle whose resources somebody else reads: their bytes, and what says whether they are all there are."""

    resources: tuple[bytes, ...] = ()
    next_url: str | None = None
    total: int | None = None
    matches: int = 0
    outcomes: tuple[Issue, ...] = ()
    unreadable: int = 0


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a batch response: its status (0 when unreadable) and the resource's bytes, if any."""

    status: int
    body: bytes | None = None


class _Coding(msgspec.Struct):
    code: str = ""


class _Details(msgspec.Struct):
    coding: list[_Coding] = []


class _Issue(msgspec.Struct):
    severity: str = ""
    code: str = ""
    details: _Details = msgspec.field(default_factory=_Details)


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


class _Meta(msgspec.Struct):
    version: str = msgspec.field(default="", name="versionId")


class _Head(msgspec.Struct):
    resource_type: str = msgspec.field(default="", name="resourceType")
    id: str = ""
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _BareHead(msgspec.Struct):
    resource_type: str = msgspec.field(default="", name="resourceType")


class _SearchMode(msgspec.Struct):
    mode: str = "match"


class _Response(msgspec.Struct):
    status: str = ""


_STATUS_DIGITS = 3
_ABSENT = msgspec.Raw(b"")


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = _ABSENT  # Raw cannot be in a union: empty stands for "not there"
    search: _SearchMode | None = None
    response: _Response | None = None


class _Link(msgspec.Struct):
    relation: str = ""
    url: str = ""


class _Bundle(msgspec.Struct):
    resource_type: str = msgspec.field(default="", name="resourceType")
    type: str = ""
    total: int | None = None
    link: list[_Link] = []
    entry: list[_Entry | None] = []


_decode_bundle = msgspec.json.Decoder(_Bundle).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_bare_head = msgspec.json.Decoder(_BareHead).decode
_decode_outcome = msgspec.json.Decoder(_Outcome).decode


def decode_page(body: bytes | msgspec.Raw) -> Page:
    """Return the page that `body` holds.

    Raises PageError when it is not a searchset. A single entry that cannot be read is counted, not fatal.
    """
    bundle = _read_bundle(body, SEARCH_TYPES)
    resources: list[HeldResource] = []
    issues: list[Issue] = []
    unreadable = 0
    for entry in bundle.entry:
        held = None if entry is None else _hold(entry)
        if held is None:
            unreadable += 1
        elif held.resource_type == "OperationOutcome":
            issues.extend(decode_outcome(held.body))
        else:
            resources.append(held)
    return Page(
        resources=tuple(resources), next_url=_next_url(bundle.link), total=bundle.total, outcomes=tuple(issues), unreadable=unreadable
    )


def list_resources(body: bytes | msgspec.Raw, types: frozenset[str] = SEARCH_TYPES) -> Listing:
    """Return the resources of a Bundle without looking into them: for a prefetch, which is read once and never merged with another page.

    Raises PageError when it is not a Bundle of one of `types`.
    """
    bundle = _read_bundle(body, types)
    resources: list[bytes] = []
    issues: list[Issue] = []
    unreadable = matches = 0
    for entry in bundle.entry:
        raw = b"" if entry is None else bytes(entry.resource)
        if entry is None or raw in {b"", b"null"}:  # left out, or null: what the entry held is not known
            unreadable += 1
            continue
        if raw.startswith(_OUTCOME_START) or (_OUTCOME_NAME in raw and _is_outcome(raw)):
            issues.extend(decode_outcome(raw))
        else:
            resources.append(raw)
            matches += entry.search is None or entry.search.mode != "include"
    return Listing(
        resources=tuple(resources),
        next_url=_next_url(bundle.link),
        total=bundle.total,
        matches=matches,
        outcomes=tuple(issues),
        unreadable=unreadable,
    )


def decode_batch(body: bytes) -> tuple[BatchAnswer, ...]:
    """Return the entries of a batch response in order (FHIR R4 http.html#batch: the order of the request). Raises PageError."""
    bundle = _read_bundle(body, BATCH_TYPES)
    return tuple(_batch_answer(entry) for entry in bundle.entry)


def decode_resource(body: bytes) -> HeldResource:
    """Return one bare resource (the answer to a read). Raises PageError when the body is none."""
    if not body.strip():
        raise PageError(PageProblem.EMPTY_BODY)
    try:
        head = _decode_head(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PageError(PageProblem.NOT_JSON) from error
    if head.resource_type == "OperationOutcome":
        raise PageError(PageProblem.OUTCOME)
    return HeldResource(head.resource_type, head.id, head.meta.version, included=False, body=body)


def decode_outcome(body: bytes) -> tuple[Issue, ...]:
    """Return the issues of an OperationOutcome; one that cannot be read counts as an error."""
    try:
        outcome = _decode_outcome(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return (Issue(severity="error", code="unreadable"),)
    issues = tuple(
        Issue(severity=issue.severity, code=issue.code, details=tuple(coding.code for coding in issue.details.coding))
        for issue in outcome.issue
    )
    return issues or (Issue(severity="error", code="unreadable"),)


def says_empty_result(issues: Iterable[Issue]) -> bool:
    """Tell whether every issue merely says that the search matched nothing (the one outcome entry that is no failure, rules 3)."""
    return all(
        issue.severity in HARMLESS_SEVERITIES and (issue.code in EMPTY_RESULT_CODES or not EMPTY_RESULT_DETAILS.isdisjoint(issue.details))
        for issue in issues
    )


def says_refused(issues: Iterable[Issue]) -> bool:
    """Tell whether some issue says that data is withheld from us."""
    return any(issue.code in REFUSAL_CODES for issue in issues)


def _read_bundle(body: bytes | msgspec.Raw, types: frozenset[str]) -> _Bundle:
    """Return the Bundle, or say what stands there instead."""
    try:
        bundle = _decode_bundle(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PageError(_problem_of(bytes(body))) from error
    if bundle.resource_type != "Bundle":
        raise PageError(PageProblem.OUTCOME if bundle.resource_type == "OperationOutcome" else PageProblem.NOT_A_BUNDLE)
    if bundle.type not in types:
        raise PageError(PageProblem.WRONG_TYPE)
    return bundle


def _problem_of(body: bytes) -> PageProblem:
    """Name why the body is no Bundle: an OperationOutcome's own elements need not fit a Bundle's."""
    if not body.strip():
        return PageProblem.EMPTY_BODY
    try:
        head = _decode_bare_head(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return PageProblem.NOT_JSON
    if head.resource_type == "OperationOutcome":
        return PageProblem.OUTCOME
    return PageProblem.NOT_A_BUNDLE


def _is_outcome(raw: bytes) -> bool:
    """Tell whether a resource that names OperationOutcome somewhere is one."""
    try:
        return _decode_bare_head(raw).resource_type == "OperationOutcome"
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False


def _hold(entry: _Entry) -> HeldResource | None:
    """Return the entry's resource with its head; None when it is no resource.

    A resource whose id or meta is malformed is kept: the record lists it with its reason.
    """
    raw = entry.resource
    included = entry.search is not None and entry.search.mode == "include"
    try:
        head = _decode_head(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _hold_headless(raw, included=included)
    if not head.resource_type:
        return None
    return HeldResource(head.resource_type, head.id, head.meta.version, included, bytes(raw))


def _hold_headless(raw: msgspec.Raw, *, included: bool) -> HeldResource | None:
    try:
        resource_type = _decode_bare_head(raw).resource_type
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return HeldResource(resource_type, "", "", included, bytes(raw)) if resource_type else None


def _next_url(links: list[_Link]) -> str | None:
    for link in links:
        if link.relation == "next":
            return link.url or None
    return None


def _batch_answer(entry: _Entry | None) -> BatchAnswer:
    if entry is None or entry.response is None:
        return BatchAnswer(status=0)
    digits = entry.response.status[:3]
    status = int(digits) if len(digits) == _STATUS_DIGITS and digits.isascii() and digits.isdigit() else 0
    return BatchAnswer(status=status, body=bytes(entry.resource) or None)
