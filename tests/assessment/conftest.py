"""The third-party patients, and the answer of all released models about one of them."""

import pytest
import third_party_answers


@pytest.fixture(scope="session")
def patients_folder():
    """Return the folder of the third-party patients."""
    folder = third_party_answers.patients_folder()
    if folder is None:
        pytest.skip("the third-party patients are not here: set GATEWAY_PATIENTS_DIR")
    return folder


@pytest.fixture(scope="session")
def patients(patients_folder):
    """Return (index entry, Bundle as published) of every patient."""
    return third_party_answers.read_patients(patients_folder)


@pytest.fixture(scope="session")
def answer_of():
    """Return a function from (index entry, Bundle) to the answer at the suggested time, the record declared complete."""
    return third_party_answers.Answerer()
