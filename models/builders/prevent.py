"""PREVENT 2023 as one graph: all variants, outcomes and horizons, in float64.

Source: Khan SS, Matsushita K, Sang Y, et al. Circulation 2024;149(6):430-449, DOI 10.1161/CIRCULATIONAHA.123.067626 (erratum
2024;149(11):e956); coefficients: its supplementary tables S12 A-J, kept in `coefficients.csv` of the release.

How a number becomes, or does not become, part of a risk:

    columns  one per input, plus two made from them: non-HDL cholesterol, and age again with the narrower limits of the 30-year outputs
    allowed  a column outside its limits (or neither 0 nor 1 where it must be) becomes NaN; `>=` is false for NaN, so NaN stays
    terms    the table of the paper: clip, centre, scale; products; the logarithm; the three missing-terms
    sum      coefficient * term, but 0 where the coefficient is 0, so that an unused NaN never enters (0 * NaN is NaN)
    gates    terms that are 0 when a limit holds and NaN when not, with coefficient 1 where the limit applies

An absent HbA1c, UACR or SDI is not an error: it becomes the value at which its terms are 0, and its missing-term becomes 1; only the
variants that have the term have a coefficient for it. A present but impossible one is NaN. An unknown variant selects coefficients of NaN.
"""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.builders.graph import BOOL, DOUBLE, INT64, GraphUnderConstruction

VARIANTS = ("base", "uacr", "hba1c", "sdi", "full")  # `variant` = place in this list
HORIZONS = ("10", "30")
OUTCOMES = ("total_cvd", "ascvd", "heart_failure", "chd", "stroke")
SEXES = ("female", "male")  # `sex` = place in this list
OUTPUT_COUNT = len(HORIZONS) * len(OUTCOMES)  # 10-year outputs first, in the order of OUTCOMES
INF = math.inf

MMOL_PER_MG_DL = 0.02586  # cholesterol, as the paper's authors convert it
SMALLEST_NON_HDL_MG_DL = 1e-6  # HDL must be below total cholesterol


# The runtime takes the logarithm of 8 numbers at a time, and of a remainder with another routine that may differ in the last bit. Taking
# each one 8 times leaves no remainder, so that a patient's risk is the same to the last bit in whatever batch it is computed.
VECTOR_WIDTH = 8


class Column(NamedTuple):
    """One column: its limits (closed), whether it must be a whole number, and what an absent optional one counts as."""

    low: float
    high: float
    whole: bool = False
    neutral: float | None = None


# Limits: data sheet, "Eligibility and limits". Names are the manifest's tensors; the two extra ones are made in the graph.
COLUMNS = {
    "age_years": Column(30, 79),
    "age_30y": Column(30, 59),
    "sex": Column(0, 1, whole=True),
    "total_cholesterol_mg_dl": Column(130, 320),
    "hdl_cholesterol_mg_dl": Column(20, 100),
    "non_hdl_mg_dl": Column(SMALLEST_NON_HDL_MG_DL, 320),
    "sbp_mm_hg": Column(90, 200),
    "bmi_kg_m2": Column(18.5, 39.9),
    "egfr_ml_min_1_73m2": Column(15, 140),
    "diabetes_0_1": Column(0, 1, whole=True),
    "smoker_0_1": Column(0, 1, whole=True),
    "bp_treatment_0_1": Column(0, 1, whole=True),
    "statin_0_1": Column(0, 1, whole=True),
    "hba1c_pct": Column(3, 15, neutral=5.3),  # (5.3 - 5.3) = 0
    "uacr_mg_g": Column(0.1, 25000, neutral=1.0),  # ln 1 = 0
    "sdi_decile_1_10": Column(1, 10, whole=True, neutral=1.0),  # neither 4-6 nor 7-10
}
MADE_IN_GRAPH = {"age_30y", "non_hdl_mg_dl"}
INPUTS = tuple(name for name in COLUMNS if name not in MADE_IN_GRAPH)
OPTIONAL = tuple(name for name, column in COLUMNS.items() if column.neutral is not None)


class Linear(NamedTuple):
    """A term `(unit * min(max(column, low), high) - centre) / scale`; `unit` makes mmol/L, the paper's unit, of cholesterol in mg/dL."""

    column: str
    centre: float
    scale: float
    low: float = -INF
    high: float = INF
    unit: float = 1.0


LINEAR = {
    "age": Linear("age_years", 55, 10),
    "nonhdl": Linear("non_hdl_mg_dl", 3.5, 1, unit=MMOL_PER_MG_DL),
    "hdl": Linear("hdl_cholesterol_mg_dl", 1.3, 0.3, unit=MMOL_PER_MG_DL),
    "sbp_lt110": Linear("sbp_mm_hg", 110, 20, high=110),
    "sbp_ge110": Linear("sbp_mm_hg", 130, 20, low=110),
    "dm": Linear("diabetes_0_1", 0, 1),
    "smoker": Linear("smoker_0_1", 0, 1),
    "bp_tx": Linear("bp_treatment_0_1", 0, 1),
    "statin": Linear("statin_0_1", 0, 1),
    "bmi_lt30": Linear("bmi_kg_m2", 25, 5, high=30),
    "bmi_ge30": Linear("bmi_kg_m2", 30, 5, low=30),
    "egfr_lt60": Linear("egfr_ml_min_1_73m2", 60, -15, high=60),
    "egfr_ge60": Linear("egfr_ml_min_1_73m2", 90, -15, low=60),
    "sdi_7_10": Linear("sdi_decile_1_10", 6, 1, low=6, high=7),
    # Not terms of the paper, but parts of its products:
    "part_hba1c": Linear("hba1c_pct", 5.3, 1),
    "part_no_dm": Linear("diabetes_0_1", 1, -1),
    "part_sdi_ge4": Linear("sdi_decile_1_10", 3, 1, low=3, high=4),
    "part_sdi_lt7": Linear("sdi_decile_1_10", 7, -1, low=6, high=7),
    # Constants that turn NaN with their column:
    "intercept": Linear("sex", 0, 1, low=1, high=1),
    "gate_lipids": Linear("total_cholesterol_mg_dl", 0, 1, low=0, high=0),
    "gate_30y": Linear("age_30y", 0, 1, low=0, high=0),
}
PRODUCTS = {
    "age_sq": ("age", "age"),
    "bp_tx_x_sbp_ge110": ("bp_tx", "sbp_ge110"),
    "statin_x_nonhdl": ("statin", "nonhdl"),
    "age_x_nonhdl": ("age", "nonhdl"),
    "age_x_hdl": ("age", "hdl"),
    "age_x_sbp_ge110": ("age", "sbp_ge110"),
    "age_x_dm": ("age", "dm"),
    "age_x_smoker": ("age", "smoker"),
    "age_x_bmi_ge30": ("age", "bmi_ge30"),
    "age_x_egfr_lt60": ("age", "egfr_lt60"),
    "hba1c_dm": ("part_hba1c", "dm"),
    "hba1c_nodm": ("part_hba1c", "part_no_dm"),
    "sdi_4_6": ("part_sdi_ge4", "part_sdi_lt7"),
}
LOGARITHM = {"ln_uacr": "uacr_mg_g"}
MISSING = {"uacr_missing": "uacr_mg_g", "hba1c_missing": "hba1c_pct", "sdi_missing": "sdi_decile_1_10"}
TERMS = (*LINEAR, *PRODUCTS, *LOGARITHM, *MISSING)  # the order of the last axis of the coefficients
PARTS = tuple(name for name in LINEAR if name.startswith("part_"))


def read_coefficients(table: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return coefficients [variant + 2, sex, output, term]: the first and the last variant stand for an unknown one and are NaN.

    Raises:
        ValueError: the table names an unknown term, names one twice, or lacks one that all variants have.
    """
    coefficients = np.zeros((len(VARIANTS), len(SEXES), OUTPUT_COUNT, len(TERMS)))
    seen: set[tuple[str, str, str]] = set()
    with table.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            key = (row["variant"], row["horizon_years"], row["term"])
            if key in seen or row["term"] not in TERMS or row["term"] in PARTS or row["term"].startswith("gate_"):
                raise ValueError(f"a coefficient that cannot be placed: {key}")
            seen.add(key)
            for sex, outcome in ((sex, outcome) for sex in SEXES for outcome in OUTCOMES):
                place = _place(row["variant"], row["horizon_years"], sex, outcome)
                coefficients[(*place, TERMS.index(row["term"]))] = float(row[f"{sex}_{outcome}"])
    if {key[:2] for key in seen if key[2] == "intercept"} != {(variant, horizon) for variant in VARIANTS for horizon in HORIZONS}:
        raise ValueError("the table does not hold every variant and horizon")
    _set_gates(coefficients)
    unknown = np.full((1, *coefficients.shape[1:]), np.nan)
    return np.concatenate([unknown, coefficients, unknown])


def _place(variant: str, horizon: str, sex: str, outcome: str) -> tuple[int, int, int]:
    return VARIANTS.index(variant), SEXES.index(sex), HORIZONS.index(horizon) * len(OUTCOMES) + OUTCOMES.index(outcome)


def _set_gates(coefficients: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Total cholesterol out of range takes away what uses it; an age above 59 takes away the 30-year outputs."""
    coefficients[..., TERMS.index("gate_lipids")] = coefficients[..., TERMS.index("nonhdl")] != 0
    coefficients[:, :, len(OUTCOMES) :, TERMS.index("gate_30y")] = 1.0


def build(folder: Path) -> bytes:
    """Return the graph built from `coefficients.csv` of the release folder."""
    graph = GraphUnderConstruction("prevent")
    absent, allowed = _columns(graph)
    terms = _terms(graph, absent, allowed)
    coefficients = _coefficients(graph, read_coefficients(folder / "coefficients.csv"))
    contributions = graph.node("Mul", [coefficients, terms], "coefficient_times_term")
    unused = graph.node("Equal", [coefficients, graph.constant("zero", np.array(0.0))], "unused")
    graph.node("Where", [unused, "zero", contributions], "contribution")
    graph.node("ReduceSum", ["contribution", graph.constant("last_axis", np.array([2]))], "linear_predictor", keepdims=0)
    graph.node("Sigmoid", ["linear_predictor"], "risk")
    graph.node("IsNaN", ["risk"], "withheld")
    graph.node("Not", ["withheld"], "applicable")
    inputs = {**dict.fromkeys(INPUTS, DOUBLE), "variant": INT64}
    outputs = {"risk": (DOUBLE, OUTPUT_COUNT), "applicable": (BOOL, OUTPUT_COUNT)}
    return graph.serialise(inputs, outputs, "PREVENT 2023, base and add-on equations, float64. DOI 10.1161/CIRCULATIONAHA.123.067626")


def _columns(graph: GraphUnderConstruction) -> tuple[str, str]:
    """Return (which optional columns are absent, the columns with everything not allowed as NaN), both [N, 1, columns]."""
    graph.node("Sub", ["total_cholesterol_mg_dl", "hdl_cholesterol_mg_dl"], "non_hdl_mg_dl")
    sources = ["age_years" if name == "age_30y" else name for name in COLUMNS]
    graph.node("Concat", sources, "one_after_another", axis=0)
    graph.node("Reshape", ["one_after_another", graph.constant("by_column", np.array([len(COLUMNS), 1, -1]))], "column_first")
    graph.node("Transpose", ["column_first"], "columns")  # reverses the axes: [N, 1, columns]
    optional = graph.constant("optional", np.array([name in OPTIONAL for name in COLUMNS]))
    neutral = graph.constant("neutral", np.array([column.neutral or 0.0 for column in COLUMNS.values()]))
    absent = graph.node("And", [graph.node("IsNaN", ["columns"], "is_nan"), optional], "absent")
    graph.node("Where", [absent, neutral, "columns"], "completed")
    low = graph.constant("lowest", np.array([column.low for column in COLUMNS.values()]))
    high = graph.constant("highest", np.array([column.high for column in COLUMNS.values()]))
    any_number = graph.constant("any_number", np.array([not column.whole for column in COLUMNS.values()]))
    graph.node("GreaterOrEqual", ["completed", low], "not_below")
    graph.node("LessOrEqual", ["completed", high], "not_above")
    graph.node("Equal", ["completed", graph.node("Floor", ["completed"], "floored")], "is_whole")
    graph.node("Or", ["is_whole", any_number], "right_kind")
    graph.node("And", [graph.node("And", ["not_below", "not_above"], "in_range"), "right_kind"], "is_allowed")
    return absent, graph.node("Where", ["is_allowed", "completed", graph.constant("nan", np.array(np.nan))], "allowed")


def _terms(graph: GraphUnderConstruction, absent: str, allowed: str) -> str:
    """Return the terms in the order of TERMS, [N, 1, terms]."""
    places = {name: place for place, name in enumerate(COLUMNS)}
    linear = list(LINEAR.values())

    def gather(data: str, chosen: list[int], name: str) -> str:
        return graph.node("Gather", [data, graph.constant(f"{name}_places", np.array(chosen))], name, axis=2)

    gather(allowed, [places[term.column] for term in linear], "of_linear")
    graph.node("Max", ["of_linear", graph.constant("clip_low", np.array([term.low for term in linear]))], "clipped_below")
    graph.node("Min", ["clipped_below", graph.constant("clip_high", np.array([term.high for term in linear]))], "clipped")
    graph.node("Mul", ["clipped", graph.constant("factor", np.array([term.unit / term.scale for term in linear]))], "scaled")
    graph.node("Sub", ["scaled", graph.constant("offset", np.array([term.centre / term.scale for term in linear]))], "linear")
    order = {name: place for place, name in enumerate(LINEAR)}
    left = gather("linear", [order[pair[0]] for pair in PRODUCTS.values()], "left")
    right = gather("linear", [order[pair[1]] for pair in PRODUCTS.values()], "right")
    graph.node("Mul", [left, right], "products")
    repeated = [places[name] for name in LOGARITHM.values() for _ in range(VECTOR_WIDTH)]
    graph.node("Log", [gather(allowed, repeated, "of_logarithm")], "logarithms")
    gather("logarithms", [place * VECTOR_WIDTH for place in range(len(LOGARITHM))], "logarithm")
    graph.node("Cast", [gather(absent, [places[name] for name in MISSING.values()], "of_missing")], "missing", to=DOUBLE)
    return graph.node("Concat", ["linear", "products", "logarithm", "missing"], "terms", axis=2)


def _coefficients(graph: GraphUnderConstruction, table: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """Return the coefficients of each row's variant and sex, [N, outputs, terms]; the intercept poisons a bad sex."""
    sexes_apart = np.moveaxis(table, 1, 0)  # [sex, variant + 2, output, term]: row = sex * (variants + 2) + variant + 1
    graph.constant("coefficients", sexes_apart.reshape(-1, *table.shape[2:]))
    is_male = graph.node("Equal", ["sex", graph.constant("male", np.array(1.0))], "is_male")
    first = [graph.constant(f"first_{sex}", np.array(place * len(table) + 1)) for place, sex in enumerate(SEXES)]
    graph.node("Where", [is_male, first[1], first[0]], "first")
    bounds = [graph.constant("below_first", np.array(-1)), graph.constant("after_last", np.array(len(VARIANTS)))]
    graph.node("Clip", ["variant", *bounds], "known")
    graph.node("Add", ["known", "first"], "row")
    return graph.node("Gather", ["coefficients", "row"], "coefficient", axis=0)
