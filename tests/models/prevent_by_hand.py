"""PREVENT a second time, from the paper's table of terms, one patient at a time: nothing of the gateway or its builders."""

import math
from pathlib import Path

OUTCOMES = ["total_cvd", "ascvd", "heart_failure", "chd", "stroke"]
VARIANTS = ["base", "uacr", "hba1c", "sdi", "full"]
YES_NO = ["diabetes_0_1", "smoker_0_1", "bp_treatment_0_1", "statin_0_1"]
MODEL_RANGES = {
    "age_years": (30, 79),
    "total_cholesterol_mg_dl": (130, 320),
    "hdl_cholesterol_mg_dl": (20, 100),
    "sbp_mm_hg": (90, 200),
    "bmi_kg_m2": (18.5, 39.9),
    "egfr_ml_min_1_73m2": (15, 140),
    "hba1c_pct": (3, 15),
    "uacr_mg_g": (0.1, 25000),
    "sdi_decile_1_10": (1, 10),
}


class Withheld(Exception):
    """A term needs something that is not there or not allowed."""


def read_table(path: Path) -> dict[tuple[str, int, str, str], dict[str, float]]:
    """Return {(variant, horizon, sex, outcome): {term: coefficient}}, terms with coefficient 0 left out."""
    lines = [line.strip().split(",") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    header = lines[0]
    table: dict[tuple[str, int, str, str], dict[str, float]] = {}
    for line in lines[1:]:
        for column in range(3, len(header)):
            sex, outcome = header[column].split("_", 1)
            key = (line[0], int(line[1]), sex, outcome)
            if float(line[column]) != 0:
                table.setdefault(key, {})[line[2]] = float(line[column])
    return table


class Patient:
    """One patient's inputs; asking for one that is absent or not allowed withholds whatever asked."""

    def __init__(self, inputs):
        self.inputs = inputs

    def absent(self, name):
        return self.inputs.get(name) is None

    def number(self, name):
        value = self.inputs.get(name)
        if value is None:
            raise Withheld(name)
        if name in YES_NO and value not in {0, 1}:
            raise Withheld(name)
        if name == "sdi_decile_1_10" and value != int(value):
            raise Withheld(name)
        if name in MODEL_RANGES:
            low, high = MODEL_RANGES[name]
            if value < low or value > high:
                raise Withheld(name)
        return value

    def term(self, name):
        if name.startswith("age_x_"):
            return self.term("age") * self.term(name[len("age_x_") :])
        return getattr(self, "t_" + name)()

    def t_intercept(self):
        return 1.0

    def t_age(self):
        return (self.number("age_years") - 55) / 10

    def t_age_sq(self):
        return self.t_age() ** 2

    def t_nonhdl(self):
        total, hdl = self.number("total_cholesterol_mg_dl"), self.number("hdl_cholesterol_mg_dl")
        if not hdl < total:
            raise Withheld("hdl above total")
        return (total - hdl) * 0.02586 - 3.5

    def t_hdl(self):
        return (self.number("hdl_cholesterol_mg_dl") * 0.02586 - 1.3) / 0.3

    def t_sbp_lt110(self):
        return (min(self.number("sbp_mm_hg"), 110) - 110) / 20

    def t_sbp_ge110(self):
        return (max(self.number("sbp_mm_hg"), 110) - 130) / 20

    def t_dm(self):
        return self.number("diabetes_0_1")

    def t_smoker(self):
        return self.number("smoker_0_1")

    def t_bp_tx(self):
        return self.number("bp_treatment_0_1")

    def t_statin(self):
        return self.number("statin_0_1")

    def t_bmi_lt30(self):
        return (min(self.number("bmi_kg_m2"), 30) - 25) / 5

    def t_bmi_ge30(self):
        return (max(self.number("bmi_kg_m2"), 30) - 30) / 5

    def t_egfr_lt60(self):
        return (min(self.number("egfr_ml_min_1_73m2"), 60) - 60) / -15

    def t_egfr_ge60(self):
        return (max(self.number("egfr_ml_min_1_73m2"), 60) - 90) / -15

    def t_bp_tx_x_sbp_ge110(self):
        return self.t_bp_tx() * self.t_sbp_ge110()

    def t_statin_x_nonhdl(self):
        return self.t_statin() * self.t_nonhdl()

    def t_sdi_4_6(self):
        return 0 if self.absent("sdi_decile_1_10") else int(4 <= self.number("sdi_decile_1_10") <= 6)

    def t_sdi_7_10(self):
        return 0 if self.absent("sdi_decile_1_10") else int(7 <= self.number("sdi_decile_1_10") <= 10)

    def t_sdi_missing(self):
        return int(self.absent("sdi_decile_1_10"))

    def t_ln_uacr(self):
        return 0 if self.absent("uacr_mg_g") else math.log(self.number("uacr_mg_g"))

    def t_uacr_missing(self):
        return int(self.absent("uacr_mg_g"))

    def t_hba1c_dm(self):
        return 0 if self.absent("hba1c_pct") else (self.number("hba1c_pct") - 5.3) * self.t_dm()

    def t_hba1c_nodm(self):
        return 0 if self.absent("hba1c_pct") else (self.number("hba1c_pct") - 5.3) * (1 - self.t_dm())

    def t_hba1c_missing(self):
        return int(self.absent("hba1c_pct"))


def risks(table, variant, sex, inputs):
    """Return the ten risks, 10 years first, None for one that must be withheld. `sex`: female, male or None."""
    patient = Patient(inputs)
    return [_risk(table, patient, (variant, horizon, sex, outcome)) for horizon in (10, 30) for outcome in OUTCOMES]


def _risk(table, patient, key):
    if key not in table:  # no such sex
        return None
    try:
        if key[1] == 30 and patient.number("age_years") > 59:
            return None
        x = sum(coefficient * patient.term(term) for term, coefficient in table[key].items())
    except Withheld:
        return None
    return 1 / (1 + math.exp(-x))
