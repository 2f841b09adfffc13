"""Every element of every list is looked at: an answer that is wrong in one place, anywhere, is found."""

import copy
import math

import orjson
import pytest
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.riskassessment import RiskAssessment
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.results.bundle import render_bundle
from gateway.results.check import check_resource, one_of_each_shape, validate

LIBRARY = {"RiskAssessment": RiskAssessment, "Observation": Observation}
NEVER_VALID = st.sampled_from([None, "", [], {}, True, math.nan, math.inf, {"nonsense": 1}, [["x"]]])
SOMETIMES_VALID = st.sampled_from(
    ["2026-02-30", "2026-11-01T10:00:00", "yesterday", "two  blanks", "a\nb", "Patient/1", "urn:uuid:1", -1, 101, 7]
)


def places(value, path=()):
    """Every place in a resource: the way to each value inside it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, content in inner:
        yield (*path, step)
        yield from places(content, (*path, step))


def put(resource, path, value):
    """The resource with another value in one place."""
    changed = copy.deepcopy(resource)
    parent = changed
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    return changed


def at(resource, path):
    for step in path:
        resource = resource[step]
    return resource


@pytest.fixture(scope="module")
def rendered(situations):
    """Every assessment and Observation of every situation, as a client decodes it."""
    bodies = [orjson.loads(orjson.dumps(render_bundle(answer))) for answer in situations.values()]
    return [entry["resource"] for body in bodies for entry in body["entry"] if entry["resource"]["resourceType"] in LIBRARY]


def found(resource):
    return check_resource(resource) or validate(resource)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_wrong_value_anywhere_is_found(rendered, data):
    """Null, emptiness, a truth value, no number or another kind of thing is never valid, in whichever element it stands."""
    resource = data.draw(st.sampled_from(range(len(rendered))).map(rendered.__getitem__))
    path = data.draw(st.sampled_from(list(places(resource))))
    assert found(put(resource, path, data.draw(NEVER_VALID)))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_unknown_element_anywhere_is_found(rendered, data):
    """An element that FHIR does not have is found at every depth."""
    resource = data.draw(st.sampled_from(range(len(rendered))).map(rendered.__getitem__))
    objects = [(), *(path for path in places(resource) if isinstance(at(resource, path), dict))]
    path = data.draw(st.sampled_from(objects))
    assert found(put(resource, (*path, "riskLevel"), "high"))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_nothing_is_lost_by_showing_the_library_one_element_of_each_shape(rendered, data):
    """What the library refuses when it is shown every element, extensions and narrative included, is refused without showing it all."""
    resource = data.draw(st.sampled_from(range(len(rendered))).map(rendered.__getitem__))
    path = data.draw(st.sampled_from(list(places(resource))))
    changed = put(resource, path, data.draw(SOMETIMES_VALID))
    try:
        LIBRARY[resource["resourceType"]].model_validate(changed)
    except ValidationError:
        assert found(changed)


def test_every_prediction_and_reference_is_looked_at(rendered):
    """In the resource with most elements each single prediction and reference is looked at, the last as well as the first."""
    resource = max((each for each in rendered if "basis" in each), key=lambda each: len(each["prediction"]) + len(each["basis"]))
    assert len(resource["prediction"]) > 5
    assert len(resource["basis"]) > 5
    for index in range(len(resource["prediction"])):
        assert found(put(resource, ("prediction", index, "probabilityDecimal"), "7"))
        assert found(put(resource, ("prediction", index, "whenPeriod", "end"), "1999-01-01"))
        assert found(put(resource, ("prediction", index, "outcome", "coding", 0, "code"), "a  b"))
    for index in range(len(resource["basis"])):
        assert found(put(resource, ("basis", index, "reference"), "nowhere"))


def test_shape_is_keys_and_types_at_every_depth():
    """Elements of equal keys and types are one shape; another key, order, type or length inside is another."""
    same = [{"a": 1, "b": {"c": "x"}}, {"a": 2, "b": {"c": "y"}}]
    others = [
        {"a": 1.0, "b": {"c": "x"}},
        {"a": 1, "b": {"d": "x"}},
        {"a": 1, "b": [{"c": "x"}]},
        {"a": 1, "b": [{"c": "x"}, {"c": "x"}]},
        {"a": 1},
    ]
    assert one_of_each_shape([*same, *others]) == [same[0], *others]
    assert one_of_each_shape(same[:1]) == same[:1]
