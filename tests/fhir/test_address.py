"""Addresses: what may be asked for, and which links may be followed."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fhir.address import AddressError, FhirBase, check_id

BASE = FhirBase("https://ehr.example.org:8443/r4/fhir/")


@given(st.text(max_size=80))
def test_no_value_changes_the_address_it_stands_in(value):
    """Whatever a search value holds, the address keeps its path and gives the value back unchanged."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    address = BASE.search("Observation", [("code", value), ("_count", "5")])
    parts = urlsplit(BASE.absolute(address))
    assert parts.path == "/r4/fhir/Observation"
    assert parse_qsl(parts.query, keep_blank_values=True) == [("code", value), ("_count", "5")]


@given(st.text(max_size=70))
def test_an_id_is_a_fhir_id_or_refused(value):
    """No accepted id holds anything but letters, digits, dash and dot, or is a step in a path."""
    try:
        check_id(value)
    except AddressError:
        return
    assert 1 <= len(value) <= 64
    assert value not in {".", ".."}
    assert all(character.isascii() and (character.isalnum() or character in "-.") for character in value)


@given(st.text(max_size=60), st.sampled_from(["", "https://ehr.example.org:8443", "https://ehr.example.org:8443/r4/fhir", "//", "/"]))
def test_every_link_that_is_followed_stays_below_the_base(tail, head):
    """A link is refused, or leads to the same scheme, host, port and base path."""
    try:
        url = BASE.follow(head + tail)
    except AddressError:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname, parts.port, parts.username) == ("https", "ehr.example.org", 8443, None)
    assert parts.path == "/r4/fhir" or parts.path.startswith("/r4/fhir/")


@pytest.mark.parametrize(
    "link",
    [
        "https://ehr.example.org:8443/r4/fhir?_getpages=1%2C2",
        "https://EHR.example.org:8443/r4/fhir/Observation?a=b%3D",
        "https://ehr.example.org:8443/r4/fhir/x",
    ],
)
def test_a_link_inside_is_returned_exactly_as_sent(link):
    """Not one character is decoded, encoded or put in order."""
    assert BASE.follow(link) == link


@pytest.mark.parametrize(
    "base", ["ftp://x/fhir", "http:///fhir", "http://u:p@x/fhir", "http://x/fhir?a=b", "http://x/fhir#a", "http://x/a b", ""]
)
def test_a_base_that_is_not_plain_is_refused(base):
    """The configured base has scheme, host and path only."""
    with pytest.raises(AddressError):
        FhirBase(base)


@pytest.mark.parametrize(("kind", "name"), [("Observation/x", "code"), ("observation", "c"), ("Observation", "a&b"), ("Patient", "")])
def test_types_and_parameter_names_are_checked(kind, name):
    """Only names of the standard's form enter an address."""
    with pytest.raises(AddressError):
        BASE.search(kind, [(name, "x")])
