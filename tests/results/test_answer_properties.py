"""Whatever a record says and however it is judged, what leaves is valid FHIR and an honest card."""

import datetime as dt
import functools
import itertools
import xml.etree.ElementTree as ET

import msgspec
import orjson
from fhir.resources.R4B.bundle import Bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.features.value import Evidence, InputState
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import SourceRef
from gateway.results.bundle import render_bundle
from gateway.results.card import SUMMARY_CHARS_MAX, CardPolicy, render_cards
from gateway.results.check import check_resource
from gateway.results.plain import describe

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    [
        '<img src=x onerror="x">',
        "[a](javascript:x)",
        "null",
        "{}",
        "a\n\n# b",
        "\u202eabc",
        "\ud800",
        " ",
        "]]>",
        "&#0;",
        "x" * 500,
    ]
)
NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 1e300, 5e-324])
IDS = st.sampled_from(["a", "A.b-1", "?", "a b", "x" * 65, ""]) | TEXTS
TIMES = st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2099, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - Hypothesis adds the zone
REASONS = st.builds(Reason, st.sampled_from(ReasonCode), TEXTS, TEXTS)
SOURCES = st.builds(
    SourceRef, st.sampled_from(["Observation", "Condition", "Patient"]), IDS, st.none() | IDS, st.none() | st.just("ab" * 32)
)
EVIDENCE = st.builds(
    Evidence, source=SOURCES, raw_value=st.none() | NUMBERS | TEXTS, raw_unit=st.none() | TEXTS, time=TIMES, code=st.none() | TEXTS
)
CHANGES = st.fixed_dictionaries({}, optional={
    "state": st.sampled_from(InputState), "value": st.none() | NUMBERS, "unit": st.sampled_from(["", "1", "mg/dL"]), "time": TIMES,
    "text": TEXTS, "evidence": st.lists(EVIDENCE, max_size=3).map(tuple), "reasons": st.lists(REASONS, max_size=3).map(tuple),
    "lineage": st.sampled_from([{}, {"model": "m"}, {"model": "m", "version": "1", "sha256": "ab"}]),
    "interval": st.none() | st.tuples(NUMBERS, NUMBERS),
})  # fmt: skip


class Noise(msgspec.Struct, frozen=True):
    """What a record and a graph say, whatever the situation: few things, spread over all inputs."""

    changes: list[dict]
    reasons: list[Reason]
    risks: list[float]
    terms: dict[str, float]
    patient_id: str


NOISE = st.builds(
    Noise,
    st.lists(CHANGES, min_size=1, max_size=3),
    st.lists(REASONS, max_size=2),
    st.lists(st.floats(0, 1), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["sbp", "age_x_sbp"]), st.floats(-9, 9)),
    IDS.filter(bool),
)


def disturbed(answer, noise):
    """The same answer about a record that says anything at all."""
    return msgspec.structs.replace(
        answer, answers=tuple(disturbed_model(found, noise) for found in answer.answers), patient_id=noise.patient_id
    )


def disturbed_model(found, noise):
    changes, risks = itertools.cycle(noise.changes), itertools.cycle(noise.risks)
    inputs = {name: msgspec.structs.replace(value, **next(changes)) for name, value in found.report.inputs.items()}
    return msgspec.structs.replace(
        found,
        report=msgspec.structs.replace(found.report, inputs=inputs, reasons=(*found.report.reasons, *noise.reasons)),
        predictions=tuple(msgspec.structs.replace(each, value=next(risks), terms=noise.terms) for each in found.predictions),
        fallbacks=tuple(
            msgspec.structs.replace(fallback, inputs={name: inputs.get(value.name, value) for name, value in fallback.inputs.items()})
            for fallback in found.fallbacks
        ),
    )


def texts_of(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner)
    else:
        yield value


NAMES = st.sampled_from([
    "complete", "retrospective", "no lipids: the fallback score", "no smoking status: no estimate", "no creatinine but a reported eGFR",
    "laboratory not fetched", "laboratory not allowed", "prior heart disease", "child", "graphs cannot be run",
])  # fmt: skip
anything = functools.partial(settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@anything(max_examples=60)
@given(name=NAMES, noise=NOISE)
def test_any_answer_is_valid_fhir(situations, name, noise):
    """Our checks find nothing, the library accepts the Bundle, the narrative is XHTML, nothing is empty, and it is the same each time."""
    answer = disturbed(situations[name], noise)
    body = orjson.dumps(render_bundle(answer))
    assert body == orjson.dumps(render_bundle(answer))
    bundle = orjson.loads(body)
    Bundle.model_validate(bundle)
    for entry in bundle["entry"]:
        assert check_resource(entry["resource"]) == ()
        assert {element.tag.rpartition("}")[2] for element in ET.fromstring(entry["resource"]["text"]["div"]).iter()} == {"div", "p"}  # noqa: S314 - our own text
    assert not [text for text in texts_of(bundle) if text is None or text == "" or (isinstance(text, str) and text != text.strip())]


@anything(max_examples=60)
@given(noise=NOISE)
def test_any_probability_is_written_in_percent(situations, noise):
    """A probability of 0..1 stands as 0..100 with at most three decimals, in the order of the manifest."""
    answer = disturbed(situations["complete"], noise)
    body = orjson.loads(orjson.dumps(render_bundle(answer)))
    shown = [prediction["probabilityDecimal"] for entry in body["entry"] for prediction in entry["resource"].get("prediction", ())]
    given_ = [prediction.value for prediction in answer.answers[-1].predictions]
    assert len(shown) == len(given_)
    for percent, probability in zip(shown, given_, strict=True):
        assert abs(percent - 100 * probability) <= 0.0005 + 1e-9
        assert round(percent, 3) == percent


@anything(max_examples=60)
@given(name=NAMES, noise=NOISE)
def test_any_card_is_short_plain_and_complete(situations, name, noise):
    """A summary is one line below 140 characters, no text can open a tag, nothing is null or empty, and no failure is an empty list."""
    answer = disturbed(situations[name], noise)
    response = orjson.loads(orjson.dumps(render_cards(answer, CardPolicy(threshold="always"))))
    for card in response["cards"]:
        assert 0 < len(card["summary"].encode("utf-16-le")) // 2 <= SUMMARY_CHARS_MAX
        assert card["summary"].isprintable()
        assert "<" not in card["detail"]
        assert "](" not in card["detail"].replace("\\]\\(", "")
        assert card["indicator"] in {"info", "warning"}
    assert not [text for text in texts_of(response["extension"]) if text in (None, "")]
    assert all(list(texts_of(card)).count("") == 0 for card in response["cards"])
    if name in {"laboratory not fetched", "laboratory not allowed", "graphs cannot be run", "no smoking status: no estimate"}:
        assert len(response["cards"]) == 1


@anything(max_examples=30)
@given(name=NAMES, noise=NOISE)
def test_any_answer_can_be_told_in_lines(situations, name, noise):
    """The lines of the command line can always be printed, one line each."""
    lines = list(describe(disturbed(situations[name], noise)))
    assert lines
    assert all(line.isprintable() for line in lines)
