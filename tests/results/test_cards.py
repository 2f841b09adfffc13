"""What a clinician sees: an honest card, or a reason in the extension why there is none (rules 6)."""

import msgspec
import orjson
import pytest

from gateway.results.card import EXTENSION_KEY, SUMMARY_CHARS_MAX, CardPolicy, escape_markdown, render_cards

POLICY = CardPolicy()
# situation -> reason told for the model that alerts, indicator of the card (None: no card), words of its summary
CARDS = {
    "complete": ("shown", "warning", "10-year risk of total cardiovascular disease: 14.7 % (PREVENT)"),
    "blood pressure above 180 is answered with a caution": ("shown", "warning", "14.7 % (PREVENT, with cautions)"),
    "no lipids: the fallback score": ("fallback", "info", "PREVENT only in part: missing: total cholesterol, hdl cholesterol"),
    "stale cholesterol": ("fallback", "info", "too old: total cholesterol"),
    "impossible cholesterol": ("fallback", "info", "impossible value, a data error: total cholesterol"),
    "no smoking status: no estimate": ("no-estimate", "info", "PREVENT: no estimate: missing: smoker"),
    "laboratory not fetched": ("no-estimate", "info", "PREVENT: no estimate: total cholesterol, hdl cholesterol, egfr"),
    "laboratory not allowed": ("no-estimate", "info", "no estimate: may not be seen: total cholesterol"),
    "prior heart disease": ("not-applicable", "info", "known cardiovascular disease, already above primary-prevention risk"),
    "dialysis": ("not-applicable", "info", "not applicable: kidney replacement therapy"),
    "graphs cannot be run": ("fallback", "info", "no PREVENT: the model could not be run"),
    "child": ("not-applicable", None, ""),
    "deceased": ("not-applicable", None, ""),
    "retrospective": ("retrospective", None, ""),
}


def told(response):
    return {each["model"]: each for each in response["extension"][EXTENSION_KEY]["models"]}


@pytest.mark.parametrize("situation", CARDS)
def test_card_follows_the_situation(answers, situation):
    """Each situation has the card, or the reason for none, of the table."""
    reason, indicator, words = CARDS[situation]
    response = render_cards(answers.cases()[situation], POLICY)
    assert told(response)["prevent"]["reason"] == reason
    assert [card["indicator"] for card in response["cards"]] == ([indicator] if indicator else [])
    assert all(words in card["summary"] for card in response["cards"])


def test_a_disease_beside_the_age_is_told(answers):
    """At 90 the model is not made for the patient, and with a heart attack in the past that is not left to be read as low risk."""
    charts = answers.charts
    old = charts.patient(birth_date=charts.date("1936-01-31"))
    (card,) = render_cards(answers.about(charts.record(*charts.complete(), charts.problem("prior_cvd"), patient=old)), POLICY)["cards"]
    assert "known cardiovascular disease" in card["summary"]


def test_low_risk_is_told_apart_from_failure(answers):
    """Below the threshold there is no card, and the extension says so with the verdict and the model."""
    answer = answers.about(answers.charts.record(*answers.charts.complete()), risks=(0.03,) * 10)
    response = render_cards(answer, POLICY)
    assert response["cards"] == []
    assert told(response)["prevent"] == {
        "model": "prevent", "version": "1.0.0", "verdict": "scored", "rung": "cpu", "reason": "below-threshold",
    }  # fmt: skip


@pytest.mark.parametrize(("risk", "shown"), [(0.0749999, False), (0.075, True), (0.0750001, True)])
def test_threshold_is_compared_with_the_unrounded_number(answers, risk, shown):
    """The model's own threshold counts from itself on, before any rounding."""
    answer = answers.about(answers.charts.record(*answers.charts.complete()), risks=(risk,) * 10)
    assert bool(render_cards(answer, POLICY)["cards"]) is shown


def test_site_may_set_its_own_threshold_or_always_show(answers):
    """A site's threshold replaces the model's; `always` shows a low risk as information."""
    answer = answers.about(answers.charts.record(*answers.charts.complete()), risks=(0.06,) * 10)
    own = CardPolicy(thresholds={"prevent": 0.05})
    assert [card["indicator"] for card in render_cards(answer, own)["cards"]] == ["warning"]
    assert [card["indicator"] for card in render_cards(answer, CardPolicy(threshold="always"))["cards"]] == ["info"]


def test_no_situation_ends_in_silence_unless_the_patient_explains_it(answers):
    """An empty list comes only below the threshold, for another time, or where the model is not made for the patient: never on failure."""
    silent = {"below-threshold", "retrospective", "not-applicable"}
    for name, answer in answers.cases().items():
        response = render_cards(answer, POLICY)
        assert response["cards"] or told(response)["prevent"]["reason"] in silent, name
        assert told(response)["ckdepi2021"]["reason"] == "feeds-others"


def test_a_model_without_a_threshold_is_told_as_such(answers):
    """It makes no card, and does not look as if it only fed others."""
    answer = answers.cases()["no lipids: the fallback score"]
    (risk,) = [found for found in answer.answers if found.manifest.name == "prevent"]
    without = msgspec.structs.replace(risk, manifest=msgspec.structs.replace(risk.manifest, alert_output=None))
    response = render_cards(msgspec.structs.replace(answer, answers=(without,)), POLICY)
    assert response["cards"] == []
    assert told(response)["prevent"]["reason"] == "no-threshold"


def test_detail_says_what_how_sure_why_and_what_is_missing(answers):
    """The detail holds numbers, inputs with value and day, what was not used and why, setting, times and citation."""
    detail = render_cards(answers.cases()["no lipids: the fallback score"], POLICY)["cards"][0]["detail"]
    for words in (
        "10\\-year risk of heart failure: **8.1 %**",
        "Framingham general cardiovascular risk \\(BMI form\\): First general cardiovascular disease event",
        "over\\-estimate risk",
        "- sbp\\: 132 mm\\[Hg\\] \\(2026\\-06\\-05\\)",
        "- egfr\\: 88\\.5 mL/min/\\{1\\.73\\_m2\\}, computed by CKD\\-EPI 2021",
        "- total\\_cholesterol\\: missing",
        "model on CPU; care setting ambulatory \\(by default\\)",
        "Generated 2026\\-06\\-15T12\\:00\\:01\\+00\\:00, valid until 2026\\-06\\-15T13\\:00\\:01\\+00\\:00",
        "Circulation 2024",
    ):
        assert words in detail, words


def test_old_value_is_shown_with_its_day_and_marked_as_not_used(answers):
    """A stale value is told with number and day, so that a person can judge it, under what was not used."""
    detail = render_cards(answers.cases()["stale cholesterol"], POLICY)["cards"][0]["detail"]
    assert "- total\\_cholesterol 210 mg/dL \\(2015\\-07\\-03\\)\\: too old" in detail.split("Not used:")[1]


def test_card_is_the_same_for_the_same_assessment(answers):
    """Times come with the answer and ids derive from it: the same assessment gives the same bytes, another one another card."""
    answer = answers.cases()["complete"]
    assert orjson.dumps(render_cards(answer, POLICY)) == orjson.dumps(render_cards(answer, POLICY))
    other = msgspec.structs.replace(answer, assessment_id="22222222-0f52-4c0e-9d37-111111111111")
    assert render_cards(other, POLICY)["cards"][0]["uuid"] != render_cards(answer, POLICY)["cards"][0]["uuid"]


def test_source_and_topic_are_static(answers):
    """The label is the site's, the topic the model: an EHR remembers overrides by it, so it is short and plain."""
    source = render_cards(answers.cases()["complete"], CardPolicy(source_label="Ward 7 risk"))["cards"][0]["source"]
    assert source["label"] == "Ward 7 risk"
    assert source["topic"]["code"].isalnum()
    assert len(source["topic"]["code"]) <= 100


def test_long_summary_is_cut_to_what_a_client_accepts(answers):
    """139 characters, counted in UTF-16 units; a cut one ends in an ellipsis."""
    answer = answers.cases()["no smoking status: no estimate"]
    found = answer.answers[-1]
    long_title = msgspec.structs.replace(found.manifest, title="\U0001fac0" * 200)
    answer = msgspec.structs.replace(answer, answers=(msgspec.structs.replace(found, manifest=long_title),))
    summary = render_cards(answer, POLICY)["cards"][0]["summary"]
    assert len(summary.encode("utf-16-le")) // 2 == SUMMARY_CHARS_MAX
    assert summary.endswith("…")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[click](javascript:x)", "\\[click\\]\\(javascript\\:x\\)"),
        ("![x](https://a.example)", "\\!\\[x\\]\\(https\\://a\\.example\\)"),
        ("a\n\n# heading\r\n===", "a  \\# heading  ==="),
        ("`code` *b* _i_ ~s~ |t|", "\\`code\\` \\*b\\* \\_i\\_ \\~s\\~ \\|t\\|"),
        ("me@x.example & co", "me\\@x\\.example &amp; co"),
        ("back\\slash", "back\\\\slash"),
        ("a\x1b[31mred\u202e", "a \\[31mred"),
        ("Grüße 血圧", "Grüße 血圧"),
    ],
)
def test_text_of_a_record_cannot_become_markup(text, shown):
    """Markdown, HTML, links, line breaks and terminal codes of a record's text are shown letter by letter, on one line."""
    assert escape_markdown(text) == shown


def test_hostile_text_of_a_record_stays_inside_its_line(answers):
    """A display text with markup changes no other line of the detail."""
    answer = answers.cases()["complete"]
    found = answer.answers[-1]
    plain = render_cards(answer, POLICY)["cards"][0]["detail"].split("\n")
    hostile = msgspec.structs.replace(found.report.inputs["smoker"], text="x\n\n# <b>STOP all drugs</b>\n- [ok](http://evil.example)")
    report = msgspec.structs.replace(found.report, inputs={**found.report.inputs, "smoker": hostile})
    changed = msgspec.structs.replace(answer, answers=(msgspec.structs.replace(found, report=report),))
    lines = render_cards(changed, POLICY)["cards"][0]["detail"].split("\n")
    assert len(lines) == len(plain)
    assert [line for line in lines if line not in plain] == [
        "- smoker\\: x  \\# &lt;b&gt;STOP all drugs&lt;/b&gt; \\- \\[ok\\]\\(http\\://evil\\.example\\) \\(2026\\-06\\-05\\)"
    ]


def test_what_is_known_alone_may_ask_for_a_response(answers):
    """A score that stands in and alerts makes a warning, also for a model that makes no card without a number; else it stays quiet."""
    answer = next(case for case in answers.cases().values() if any(found.fallbacks for found in case.answers))
    found = next(found for found in answer.answers if found.fallbacks)
    quiet = msgspec.structs.replace(found, manifest=msgspec.structs.replace(found.manifest, card_without_number=False))
    urgent = msgspec.structs.replace(quiet, fallbacks=(msgspec.structs.replace(found.fallbacks[0], alerts=True),))
    cards = [render_cards(msgspec.structs.replace(answer, answers=(shown,)), POLICY)["cards"] for shown in (quiet, urgent)]
    assert cards[0] == []
    assert [card["indicator"] for card in cards[1]] == ["warning"]
    assert cards[1][0]["summary"].startswith(found.fallbacks[0].title)


def test_a_term_may_alert_whatever_the_total(answers):
    """Three points in one parameter: a card below the threshold, as a warning."""
    answer = answers.cases()["complete"]
    found = next(found for found in answer.answers if found.manifest.alert_output)
    alert = next(prediction for prediction in found.predictions if prediction.output == found.manifest.alert_output)
    manifest = msgspec.structs.replace(found.manifest, alert_threshold=2.0, alert_terms=("single",))
    for value, shown in ((0.0, []), (1.0, ["warning"])):
        prediction = msgspec.structs.replace(alert, terms={"single": value})
        changed = msgspec.structs.replace(found, manifest=manifest, predictions=(prediction,))
        cards = render_cards(msgspec.structs.replace(answer, answers=(changed,)), POLICY)["cards"]
        assert [card["indicator"] for card in cards] == shown
