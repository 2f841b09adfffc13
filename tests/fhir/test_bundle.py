"""Pages: whatever the bytes are, the result is a page or a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fhir.bundle import PageError, PageProblem, decode_batch, decode_page, decode_resource, list_resources
from gateway.fhir.capability import decode_capability

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["resourceType", "type", "total", "link", "entry", "resource", "search", "id", "meta", "response", "status", "issue"]
)
BUNDLES = st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON), max_size=8).map(
    lambda odd: {"resourceType": "Bundle", "type": "searchset", **odd}
)


@given(st.binary(max_size=200) | JSON.map(lambda odd: json.dumps(odd).encode()) | BUNDLES.map(lambda odd: json.dumps(odd).encode()))
def test_any_bytes_are_a_page_or_a_reason(body):
    """No other exception leaves the decoders, and the reason holds nothing of the body."""
    for decode in (decode_page, decode_batch, decode_resource, decode_capability):
        reason = None
        try:
            decode(body)
        except PageError as error:
            reason = str(error)
        assert reason in {None, *(problem.value for problem in PageProblem)}


@given(BUNDLES, st.lists(JSON, max_size=5))
def test_no_entry_vanishes(odd, entries):
    """Every entry is a resource, an outcome, or counted as unreadable."""
    odd = {**odd, "resourceType": "Bundle", "type": "searchset", "total": 3, "link": [], "entry": [{"resource": one} for one in entries]}
    page = decode_page(json.dumps(odd).encode())
    outcomes = sum(isinstance(one, dict) and one.get("resourceType") == "OperationOutcome" for one in entries)
    assert len(page.resources) + page.unreadable + outcomes == len(entries)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", PageProblem.EMPTY_BODY),
        (b" \n", PageProblem.EMPTY_BODY),
        (b"<html>", PageProblem.NOT_JSON),
        (b"{}", PageProblem.NOT_A_BUNDLE),
        (b'{"resourceType":"OperationOutcome","issue":[]}', PageProblem.OUTCOME),
        (b'{"resourceType":"OperationOutcome","link":7}', PageProblem.OUTCOME),
        (b'{"resourceType":"Bundle","type":"collection"}', PageProblem.WRONG_TYPE),
        (b'{"resourceType":"Bundle","type":"searchset"', PageProblem.NOT_JSON),
    ],
)
def test_why_a_body_is_no_page(body, problem):
    """Each kind of answer that is no result has its own words."""
    with pytest.raises(PageError) as raised:
        decode_page(body)
    assert raised.value.problem is problem


@pytest.mark.parametrize("entry", [b"null", b"{}", b'{"resource":null}', b'{"search":{"mode":"match"}}'])
def test_an_entry_without_a_resource_is_unreadable_in_a_page_and_in_a_prefetch(entry):
    """What it held is not known, so nothing may be concluded from its absence; it is not counted as found."""
    body = b'{"resourceType":"Bundle","type":"searchset","entry":[' + entry + b"]}"
    assert (decode_page(body).resources, decode_page(body).unreadable) == ((), 1)
    listing = list_resources(body)
    assert (listing.resources, listing.matches, listing.unreadable) == ((), 0, 1)
