"""Code sets that a release brings along: joined before manifests are checked, the same row twice is one, a contradiction is refused."""

import re
import shutil
from pathlib import Path

import pytest
from release_keys import TRUSTED

from gateway.registry import FileRefused, ManifestRefused, load_code_sets, load_releases
from gateway.terminology import Code, load_terminology

MODELS = Path(__file__).parents[2] / "models"
SNOMED = "http://snomed.info/sct"
HEADER = (
    "concept,fhir_element,system,code,display,preferred_unit_ucum,convertible_units_and_factor,plausible_min,plausible_max,"
    "staleness_ed,staleness_inpatient,staleness_ambulatory\n"
)
GOUT = f"gout,Condition.code / Procedure.code,{SNOMED},90560007,Gout,,,,,ever,ever,ever\n"
URATE = "urate,Observation,http://loinc.org,3084-1,Urate,mg/dL,mmol/L:16.81,0.5,40,48 h,48 h,365 d\n"


@pytest.fixture
def two_releases(tmp_path, rehash):
    """Return a function that puts tables into copies of two shipped releases and returns the folder of both."""

    def make(first: dict[str, str], second: dict[str, str]) -> Path:
        root = tmp_path / "models"
        for name, files in (("ckdepi2021", first), ("prevent", second)):
            folder = Path(shutil.copytree(MODELS / name / "1.0.0", root / name / "1.0.0"))
            for file, text in files.items():
                (folder / file).write_text(text, encoding="utf-8")
            rehash(folder)
        return root

    return make


def test_a_concept_of_a_release_is_read_like_any_other(two_releases):
    """A measured concept with unit and limits, a condition by code, and by its words where a stem is brought too."""
    stems = "group,stem,place\ngout,gout,word\n"
    terminology = load_code_sets(two_releases({"codes.csv": HEADER + GOUT + URATE, "stems.csv": stems}, {}), TRUSTED)
    assert terminology.concepts_of("http://loinc.org", "3084-1") == ("urate",)
    assert terminology.convert("urate", 0.5, "mmol/L", coded=True).value == pytest.approx(8.405)
    assert terminology.concept("urate").ages["inpatient"].hard_days == 2
    assert "gout" in terminology.problem_groups([Code(SNOMED, "90560007")], "")[0]
    assert "gout" in terminology.problem_groups([], "Gout, left foot")[1]
    assert "gout" not in load_terminology().concepts


def test_two_releases_may_bring_the_same_row(two_releases):
    """It counts once, and both releases are loaded."""
    root = two_releases({"codes.csv": HEADER + URATE}, {"codes.csv": HEADER + URATE + GOUT})
    terminology = load_code_sets(root, TRUSTED)
    assert len(terminology.codes_for("urate")) == 1
    assert len(load_releases(root, terminology, TRUSTED)) == 2


def test_a_release_may_add_a_code_to_a_packaged_concept(two_releases):
    """The packaged codes stay, the new one stands behind them."""
    row = f"hypertension,Condition.code / Procedure.code,{SNOMED},48146000,Diastolic hypertension,,,,,active,active,active\n"
    terminology = load_code_sets(two_releases({"codes.csv": HEADER + row}, {}), TRUSTED)
    codes = [code.code for code in terminology.codes_for("hypertension")]
    assert codes == [*(code.code for code in load_terminology().codes_for("hypertension")), "48146000"]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (URATE.replace("mg/dL", "mmol/L"), "urate is known with another unit"),
        (URATE.replace("0.5,40", "0.5,400"), "urate is known with another plausible_max"),
        (URATE.replace("365 d", "30 d"), "urate is known with another staleness"),
        (URATE.replace("16.81", "1.681"), "urate 3084-1 is known with another conversions"),
        (GOUT.replace("gout,", "urate,"), "urate is known with another resource"),
        (URATE.replace("3084-1", "14933-6").replace("mg/dL", "g/L"), "urate is known with another unit"),
        (URATE.replace("mmol/L:16.81", "mmol/L=16.81"), "conversion"),
        (URATE.replace("Observation", "Sighting"), "Sighting is no fhir_element"),
        (URATE.replace("3084-1", ""), "lacks concept, system or code"),
        (URATE.replace(",365 d", ""), "longer or shorter"),
        (URATE.replace("48 h", "soon"), "duration"),
        ("creatinine,Observation,http://loinc.org,2160-0,Creatinine,mg/L,,0.1,40,48 h,48 h,365 d\n", "creatinine is known with another"),
    ],
)
def test_a_contradiction_is_refused_with_its_place(two_releases, second, words):
    """Between two releases, or with the packaged table; the refusal names model, version and file, and the concept."""
    root = two_releases({"codes.csv": HEADER + URATE}, {"codes.csv": HEADER + second})
    with pytest.raises(ManifestRefused, match=re.escape(words)) as refused:
        load_code_sets(root, TRUSTED)
    assert refused.value.place == "prevent/1.0.0/codes.csv"


@pytest.mark.parametrize("stems", ["group,stem,place\ngout,Gout,word\n", "group,stem,place\ngout,gout,near\n", "group,stem\ngout,gout\n"])
def test_a_stem_that_would_never_be_found_is_refused(two_releases, stems):
    """Text is compared in lower case, and a place is one of three."""
    with pytest.raises(ManifestRefused, match="stem") as refused:
        load_code_sets(two_releases({"codes.csv": HEADER + GOUT, "stems.csv": stems}, {}), TRUSTED)
    assert refused.value.place == "ckdepi2021/1.0.0/stems.csv"


def test_tables_are_held_against_the_hashes_first(two_releases):
    """A table that is not the one that was hashed is never read."""
    root = two_releases({"codes.csv": HEADER + URATE}, {})
    (root / "ckdepi2021/1.0.0/codes.csv").write_text(HEADER + GOUT, encoding="utf-8")
    with pytest.raises(FileRefused, match="not the file that was hashed") as refused:
        load_code_sets(root, TRUSTED)
    assert refused.value.place == "ckdepi2021/1.0.0/codes.csv"


def test_a_release_is_not_loaded_without_its_own_codes(two_releases):
    """With the packaged terminology alone its conditions would never be found, and absence would be concluded."""
    root = two_releases({"codes.csv": HEADER + GOUT}, {})
    with pytest.raises(ManifestRefused, match="gout 90560007 is not part of the terminology"):
        load_releases(root, load_terminology(), TRUSTED)
