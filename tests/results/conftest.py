"""Answers as the pure pipeline gives them for a record, with numbers stated by the test instead of a graph."""

import asyncio
import datetime as dt
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import pytest

from gateway.assessment.compute import compute_answers
from gateway.assessment.ports import RunFailed, RunResult
from gateway.clock import Deadline, FrozenClock
from gateway.features.manifest import ModelManifest
from gateway.fhir.group import Group, GroupState
from gateway.record.values import Code, PatientRecord
from gateway.results.answer import AssessmentAnswer, ModelAnswer, ReleaseIdentity, Rung

_SPEC = importlib.util.spec_from_file_location("feature_charts", Path(__file__).parents[1] / "features" / "conftest.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_CHARTS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_CHARTS)

charts, manifests, terminology = _CHARTS.charts, _CHARTS.manifests, _CHARTS.terminology
AS_OF: dt.datetime = _CHARTS.AS_OF
BASE_URL = "https://fhir.hospital.example/r4"
ANSWERED = ("ckdepi2021", "prevent")  # the models whose numbers are stated here
RISKS = (0.146839, 0.091951, 0.080561, 0.0567, 0.0449, 0.4, 0.3, 0.25, 0.2, 0.15)
EGFR = 88.5
MDRD = Code("http://loinc.org", "33914-3", "")


class Released(msgspec.Struct, frozen=True):
    """A release that may be used."""

    manifest: ModelManifest
    identity: ReleaseIdentity


class StatedNumbers:
    """A runtime that gives stated numbers for whatever was judged usable; without numbers it fails."""

    def __init__(self, numbers: Mapping[str, tuple[float, ...]], rung: Rung = Rung.CPU) -> None:
        self.numbers = numbers
        self.rung = rung

    async def run(  # awaited, as a worker's: the other tests of the use case run graphs in this process
        self,
        model: str,
        tensors: Mapping[str, float],  # noqa: ARG002 - the port's form
        variant_index: int | None,  # noqa: ARG002 - the port's form
        deadline: Deadline,  # noqa: ARG002 - the port's form
    ) -> RunResult:
        if model not in self.numbers:
            raise RunFailed("no rung could run the graph")
        values = self.numbers[model]
        return RunResult(values=values, applicable=(True,) * len(values), rung=self.rung, runtime="onnxruntime 1.32.0 CPUExecutionProvider")


class Answers:
    """Answers about records in the language of charts."""

    as_of = AS_OF
    base_url = BASE_URL

    def __init__(self, charts: "_CHARTS.Charts") -> None:
        self.charts = charts
        self.releases = [
            Released(manifest, ReleaseIdentity(name=name, version=manifest.version, graph_sha256="ab" * 32, manifest_sha256="cd" * 32))
            for name, manifest in sorted(charts.manifests.items())  # ckdepi2021 before prevent, which reads it
            if name in ANSWERED
        ]

    def about(
        self,
        record: PatientRecord,
        *,
        risks: tuple[float, ...] | None = RISKS,
        egfr: float | None = EGFR,
        rung: Rung = Rung.CPU,
        **said: object,
    ) -> AssessmentAnswer:
        """The answer about a record; `risks=None` or `egfr=None`: that graph cannot be run."""
        numbers = {"prevent": risks, "ckdepi2021": (egfr,) if egfr is not None else None}
        runtime = StatedNumbers({name: values for name, values in numbers.items() if values is not None}, rung)
        found = asyncio.run(
            compute_answers(record, self.releases, runtime, self.charts.terminology, as_of=AS_OF, deadline=Deadline(FrozenClock(AS_OF), 10))
        )
        fields = {
            "assessment_id": "0b3f9a6e-0f52-4c0e-9d37-111111111111",
            "patient_id": "p",
            "base_url": BASE_URL,
            "as_of": AS_OF,
            "answered_at": AS_OF + dt.timedelta(seconds=1),
            "retrospective": False,
            "answers": found,
            **said,
        }
        return AssessmentAnswer(**fields)  # type: ignore[arg-type]  # a test's own shorthand

    def without(self, *concepts: str) -> list[object]:
        """A complete chart without the measurements of some concepts."""
        return [entry for entry in self.charts.complete() if not set(getattr(entry, "concepts", ())) & set(concepts)]

    def cases(self) -> dict[str, AssessmentAnswer]:
        """One answer for every situation that the rules name, by a clinician's name for it."""
        charts = self.charts
        record, complete, without = charts.record, charts.complete, self.without
        failed = {Group.LABORATORY: GroupState.NOT_FETCHED}
        refused = {Group.LABORATORY: GroupState.NOT_ALLOWED}
        return {
            "complete": self.about(record(*complete())),
            "on the GPU": self.about(record(*complete()), rung=Rung.GPU),
            "retrospective": self.about(record(*complete()), retrospective=True),
            "no base URL": self.about(record(*complete()), base_url=None),
            "no weight: heart failure only is lost": self.about(record(*without("weight"))),
            "blood pressure above 180 is answered with a caution": self.about(
                record(*without("sbp"), charts.lab("sbp", 190.0, encounter_id="visit"))
            ),
            "no lipids: the fallback score": self.about(record(*without("total_cholesterol", "hdl_cholesterol"))),
            "stale cholesterol": self.about(
                record(
                    *without("total_cholesterol", "hdl_cholesterol"),
                    charts.lab("total_cholesterol", 210.0, 4000),
                    charts.lab("hdl_cholesterol", 52.0, 4000),
                )
            ),
            "impossible cholesterol": self.about(record(*without("total_cholesterol"), charts.lab("total_cholesterol", 21000.0))),
            "no smoking status: no estimate": self.about(record(*without("smoking"))),
            "no creatinine but a reported eGFR": self.about(record(*without("creatinine"), charts.lab("egfr_other", 71.0, codes=(MDRD,)))),
            "laboratory not fetched": self.about(record(*complete(), groups=failed)),
            "laboratory not allowed": self.about(record(*complete(), groups=refused)),
            "prior heart disease": self.about(record(*complete(), charts.problem("prior_cvd"))),
            "dialysis": self.about(record(*complete(), charts.problem("kidney_replacement"))),
            "child": self.about(record(*complete(), patient=charts.patient(birth_date=charts.date("2016-01-31")))),
            "deceased": self.about(record(*complete(), patient=charts.patient(deceased=True))),
            "graphs cannot be run": self.about(record(*complete()), risks=None, egfr=None),
        }


@pytest.fixture
def answers(charts: object) -> Answers:
    """The language of answers."""
    return Answers(charts)


@pytest.fixture
def model_of() -> Callable[[AssessmentAnswer, str], ModelAnswer]:
    """Pick one model's answer."""
    return lambda answer, name: next(found for found in answer.answers if found.manifest.name == name)


class Situations:
    """Every situation, made once; a failing example of Hypothesis prints no more than its name."""

    def __init__(self, cases: Mapping[str, AssessmentAnswer]) -> None:
        self._cases = cases

    def __getitem__(self, name: str) -> AssessmentAnswer:
        return self._cases[name]

    def values(self) -> Iterable[AssessmentAnswer]:
        """Every answer."""
        return self._cases.values()


@pytest.fixture(scope="session")
def situations(terminology: object, manifests: object) -> Situations:
    """Every situation by name, for tests that ask many times."""
    return Situations(Answers(_CHARTS.Charts(terminology, manifests)).cases())
