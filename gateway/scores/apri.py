"""APRI: aspartate aminotransferase to platelet ratio index, for liver fibrosis.

Source: Wai CT, Greenson JK, Fontana RJ, et al. A simple noninvasive index can predict both significant fibrosis and cirrhosis in patients
with chronic hepatitis C. Hepatology 2003;38:518-526, DOI 10.1053/jhep.2003.50346.

    APRI = (AST / upper limit of normal of AST) * 100 / platelets (10*9/L)
"""

from gateway.record.reason import Reason, ReasonCode
from gateway.scores.score import Score, ScoreInputs, ScoreResult, number_within

# Plausible ranges of the terminology's tables; of the limit: those of laboratories lie between 25 and 60 U/L, far outside is a data error.
AST_U_L, PLATELETS_10E9_L, UPPER_LIMIT_U_L = (1, 20000), (1, 3000), (10, 200)

# The paper's cut-offs. Between the two lower ones nothing is decided, and a low number is named as a number, never as reassurance.
CATEGORIES = (
    (2.0, "above 2.0: the cut-off for cirrhosis"),
    (1.5, "above 1.5: the cut-off for significant fibrosis"),
    (0.5, "above 0.5, at most 1.5: undecided"),
)
LOWEST_CATEGORY = "at most 0.5: below the lower cut-off"
ACUTE_AST_U_L = 200  # about five times the upper limit of normal
ACUTE = Reason(ReasonCode.CAUTION, "acute_liver_injury", f"AST above {ACUTE_AST_U_L} U/L")
LIMITS = (
    "Made in chronic hepatitis C; not for acute liver injury.",
    "Depends on the laboratory's upper limit of normal.",
    "A low number does not exclude fibrosis.",
)


def _index(inputs: ScoreInputs) -> ScoreResult:
    """Return the index; in acute liver injury without a category."""
    ast = number_within(inputs, "ast_u_l", *AST_U_L)
    upper_limit = number_within(inputs, "ast_uln_u_l", *UPPER_LIMIT_U_L)
    value = ast / upper_limit * 100.0 / number_within(inputs, "platelets_10e9_l", *PLATELETS_10E9_L)
    note = f"Upper limit of normal of AST: {upper_limit:g} U/L."
    if ast > ACUTE_AST_U_L:
        return ScoreResult(value=value, notes=(note, *LIMITS), cautions=(ACUTE,))
    category = next((words for cut_off, words in CATEGORIES if value > cut_off), LOWEST_CATEGORY)
    return ScoreResult(value=value, qualitative=category, notes=(note, *LIMITS))


APRI = Score(
    name="apri",
    title="APRI (AST to platelet ratio index)",
    citation="Wai CT, Greenson JK, Fontana RJ, et al. Hepatology 2003;38:518-526",
    doi="10.1053/jhep.2003.50346",
    outcome_text="Significant liver fibrosis or cirrhosis in chronic liver disease (an index, no probability)",
    horizon_years=None,
    limitations=LIMITS,
    parameters=("ast_u_l", "ast_uln_u_l", "platelets_10e9_l"),
    formula=_index,
    beside_column="fallback_expected_apri",
    scale="score",
    decimals=2,
)
