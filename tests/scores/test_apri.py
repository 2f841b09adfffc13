"""APRI: the published form, its cut-offs on both sides, and what it never does: guess a limit, reassure, or rank an acute injury."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scores import SCORES, ScoreRefused

APRI = SCORES["apri"]


def compute(ast, upper_limit, platelets):
    return APRI.compute({"ast_u_l": ast, "ast_uln_u_l": upper_limit, "platelets_10e9_l": platelets})


def test_the_published_form():
    """Wai 2003: AST twice the upper limit with 100 platelets is 2."""
    assert compute(80.0, 40.0, 100.0).value == 2.0


@given(ast=st.floats(1, 20000), upper_limit=st.floats(10, 200), platelets=st.floats(1, 3000))
def test_it_is_the_formula_for_every_plausible_input(ast, upper_limit, platelets):
    """Written a second time; the limit that was used is told."""
    result = compute(ast, upper_limit, platelets)
    assert result.value == pytest.approx(100 * ast / (upper_limit * platelets), rel=1e-12)
    assert any("Upper limit of normal" in note for note in result.notes)


@pytest.mark.parametrize(
    ("ast", "platelets", "says"),
    [
        (50.0, 100.0, "at most 0.5"),
        (50.1, 100.0, "above 0.5"),
        (150.0, 100.0, "at most 1.5"),
        (150.1, 100.0, "above 1.5"),
        (200.0, 100.0, "above 1.5"),
        (200.0, 99.0, "above 2.0"),
    ],
)
def test_the_cut_offs_belong_to_the_lower_category(ast, platelets, says):
    """`> 0.5`, `> 1.5`, `> 2.0`: with an upper limit of 100 the index is AST / platelets."""
    result = compute(ast, 100.0, platelets)
    assert says in result.qualitative
    assert not any(word in f"{result.qualitative} {result.notes}".lower() for word in ("unlikely", "excluded", "low risk"))


def test_acute_injury_gets_a_number_and_no_category():
    """AST above 200 U/L; at 200 it still gets one."""
    acute = compute(201.0, 40.0, 150.0)
    assert acute.qualitative is None
    assert [str(reason) for reason in acute.cautions] == ["CAUTION:acute_liver_injury"]
    assert compute(200.0, 40.0, 150.0).cautions == ()


@pytest.mark.parametrize("name", ["ast_u_l", "ast_uln_u_l", "platelets_10e9_l"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -1, 1e6, "40"])
def test_an_impossible_input_is_refused(name, value):
    """There is no default limit."""
    inputs = {"ast_u_l": 80.0, "ast_uln_u_l": 40.0, "platelets_10e9_l": 150.0}
    with pytest.raises(ScoreRefused, match=name):
        APRI.compute({**inputs, name: value})
    with pytest.raises(ScoreRefused, match=name):
        APRI.compute({key: given for key, given in inputs.items() if key != name})
