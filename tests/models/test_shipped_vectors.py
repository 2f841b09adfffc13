"""Every vector row of the shipped models and their fallbacks: from the clinical folder, else from the releases themselves."""

from functools import partial

import pytest

from gateway.registry import check_file, check_shipped

# model, file of the clinical folder, rows that must at least be there
FILES = [
    ("meld3", "meld3_vectors.csv", 46),
    ("meld3", "meld_na_vectors.csv", 27),
    ("meld3", "applicability_vectors.csv", 4),
    ("prevent", "prevent_vectors.csv", 90),
    ("prevent", "framingham_bmi_vectors.csv", 45),
    ("prevent", "applicability_vectors.csv", 12),
    ("ckdepi2021", "ckdepi2021_vectors.csv", 40),
    ("ckdepi2021", "applicability_vectors.csv", 4),
    ("cha2ds2vasc", "cha2ds2vasc_vectors.csv", 27),
    ("fib4", "fib4_vectors.csv", 41),
    ("fib4", "applicability_vectors.csv", 3),
    ("hospital", "hospital_vectors.csv", 45),
    ("hospital", "hospital_partial_vectors.csv", 20),
    ("news2", "news2_vectors.csv", 55),
    ("news2", "news2_partial_vectors.csv", 24),
    ("news2", "qsofa_vectors.csv", 19),
    ("news2", "applicability_vectors.csv", 5),
    ("kfre", "kfre_vectors.csv", 47),
    ("kfre", "kdigo_risk_vectors.csv", 29),
    ("kfre", "applicability_vectors.csv", 5),
]
SHIPPED_AS = {
    "prevent_vectors.csv": "vectors.csv",
    "ckdepi2021_vectors.csv": "vectors.csv",
    "cha2ds2vasc_vectors.csv": "vectors.csv",
    "fib4_vectors.csv": "vectors.csv",
    "framingham_bmi_vectors.csv": "fallback_vectors.csv",
    "kfre_vectors.csv": "vectors.csv",
    "kdigo_risk_vectors.csv": "fallback_vectors.csv",
    "meld3_vectors.csv": "vectors.csv",
    "hospital_vectors.csv": "vectors.csv",
    "hospital_partial_vectors.csv": "partial_vectors.csv",
    "news2_vectors.csv": "vectors.csv",
    "news2_partial_vectors.csv": "partial_vectors.csv",
    "qsofa_vectors.csv": "fallback_vectors.csv",
    "meld_na_vectors.csv": "fallback_vectors.csv",
}


@pytest.mark.parametrize(("model", "name", "at_least"), FILES)
def test_every_row_is_within_tolerance(served, models_terminology, vector_folder, figure, model, name, at_least):
    """Numbers, withheld outputs, status, reason codes and fallbacks; a row that cannot be run fails."""
    releases, engine = served
    release = releases[model]
    content = release.files[SHIPPED_AS.get(name, name)] if vector_folder is None else (vector_folder / name).read_bytes()
    report = check_file(release, content, partial(engine.run, model), models_terminology).rows
    figure(f"{model}, {name}: {report.last_line}")
    assert report.failures == ()
    assert report.rows >= at_least


@pytest.mark.parametrize(("model", "name", "at_least"), [entry for entry in FILES if entry[1] != "applicability_vectors.csv"])
def test_every_row_is_within_tolerance_in_a_worker(served_by_worker, models_terminology, vector_folder, figure, model, name, at_least):
    """The same files, each run in another process."""
    releases, runtime = served_by_worker
    release = releases[model]
    assert runtime.place_of(model) == "in a worker"
    content = release.files[SHIPPED_AS.get(name, name)] if vector_folder is None else (vector_folder / name).read_bytes()
    report = check_file(release, content, runtime.runner(model), models_terminology).rows
    figure(f"{model} in a worker, {name}: {report.last_line}")
    assert report.failures == ()
    assert report.rows >= at_least


def test_what_a_release_ships_is_checked_completely(served, models_terminology):
    """Without a file, `models check` runs every vector file of the release."""
    releases, engine = served
    reports = {name: check_shipped(release, partial(engine.run, name), models_terminology) for name, release in releases.items()}
    kinds = {name: [report.kind for report in by_file.values()] for name, by_file in reports.items()}
    assert all(report.rows.passed for by_file in reports.values() for report in by_file.values())
    assert all(given[0] == "main" for given in kinds.values())
    assert [name for name, given in kinds.items() if given[-1] != "applicability"] == ["cha2ds2vasc", "hospital"]
    assert [name for name, given in kinds.items() if "fallback" not in given] == ["cha2ds2vasc", "ckdepi2021", "fib4", "hospital"]
