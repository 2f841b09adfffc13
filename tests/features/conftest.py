"""A small language for records: what a chart says, in days before the as-of time."""

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.features.context import Chart, RecordIndex
from gateway.features.extract import extract_inputs
from gateway.features.manifest import ModelManifest, decode_manifest
from gateway.features.value import InputValue
from gateway.fhir.group import Group, GroupState
from gateway.quality.judge import judge
from gateway.quality.report import QualityReport
from gateway.quality.setting import care_setting
from gateway.quality.upstream import output_as_input
from gateway.record.values import (
    Code,
    FhirTime,
    Measurement,
    MedicationOrder,
    PatientFacts,
    PatientRecord,
    Precision,
    Problem,
    SourceRef,
    Stay,
)
from gateway.registry import load_code_sets
from gateway.terminology import Terminology

AS_OF = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
SNOMED = "http://snomed.info/sct"
UNITS = {
    "total_cholesterol": "mg/dL",
    "hdl_cholesterol": "mg/dL",
    "sbp": "mm[Hg]",
    "weight": "kg",
    "height": "cm",
    "bmi": "kg/m2",
    "creatinine": "mg/dL",
    "hba1c": "%",
    "uacr": "mg/g",
    "egfr_ckdepi2021": "mL/min/{1.73_m2}",
    "egfr_other": "mL/min/{1.73_m2}",
}
_PRECISIONS = {4: Precision.YEAR, 7: Precision.MONTH, 10: Precision.DAY}


class Charts:
    """Builds the parts of a record and asks the gateway about them."""

    as_of = AS_OF

    def __init__(self, terminology: Terminology, manifests: Mapping[str, ModelManifest]) -> None:
        self.terminology = terminology
        self.manifests = manifests
        self._count = 0

    def id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count:04d}"

    def ago(self, days: float) -> FhirTime:
        at = AS_OF - dt.timedelta(days=days)
        return FhirTime(at, Precision.INSTANT, at.isoformat())

    def date(self, text: str) -> FhirTime:
        """A FHIR date or dateTime as text; without a zone it is UTC."""
        if len(text) in _PRECISIONS:
            at = dt.datetime.fromisoformat(text + "-01-01"[: 10 - len(text)] if len(text) < 10 else text)
            return FhirTime(at.replace(tzinfo=dt.UTC), _PRECISIONS[len(text)], text)
        at = dt.datetime.fromisoformat(text)
        return FhirTime(at if at.tzinfo else at.replace(tzinfo=dt.UTC), Precision.INSTANT, text)

    def lab(self, concept: str, value: float | None, days: float | None = 10, **said: object) -> Measurement:
        fields = {
            "source": SourceRef("Observation", self.id("o"), "1"),
            "concepts": (concept,),
            "codes": (),
            "status": "final",
            "time": self.ago(days) if days is not None else None,
            "value": value,
            "unit": UNITS.get(concept),
            "unit_coded": True,
            **said,
        }
        usable = fields["status"] in ("final", "amended", "corrected")
        return Measurement(usable_status=usable, **fields)  # type: ignore[arg-type]  # a test's own shorthand

    def smoking(self, code: str, days: float | None = 10, display: str = "", **said: object) -> Measurement:
        return self.lab("smoking", None, days, **{"unit": None, "value_codes": (Code(SNOMED, code, display),), **said})

    def problem(self, group: str = "", days: float | None = 100, **said: object) -> Problem:
        fields = {
            "source": SourceRef("Condition", self.id("c"), "1"),
            "codes": (),
            "text": group or "something else",
            "groups": frozenset({group} if group else ()),
            "recorded": self.ago(days) if days is not None else None,
            **said,
        }
        return Problem(**fields)  # type: ignore[arg-type]  # a test's own shorthand

    def order(self, group: str = "", days: float | None = 30, **said: object) -> MedicationOrder:
        fields = {
            "source": SourceRef("MedicationRequest", self.id("m"), "1"),
            "codes": (),
            "text": group or "paracetamol",
            "ingredients": (),
            "groups": frozenset({group} if group else ()),
            "recognised": True,
            "active": True,
            "status": "active",
            "authored": self.ago(days) if days is not None else None,
            **said,
        }
        return MedicationOrder(**fields)  # type: ignore[arg-type]  # a test's own shorthand

    def stay(self, days: float = 30, hours: float | None = 2, setting: str | None = "ambulatory", **said: object) -> Stay:
        end = self.ago(days - hours / 24) if hours is not None else None
        fields = {
            "source": SourceRef("Encounter", self.id("e"), "1"),
            "setting": setting,
            "start": self.ago(days),
            "end": end,
            "status": "finished" if hours is not None else "in-progress",
            **said,
        }
        return Stay(**fields)  # type: ignore[arg-type]  # a test's own shorthand

    def patient(self, **said: object) -> PatientFacts:
        fields = {"source": SourceRef("Patient", "p", "1"), "gender": "female", "birth_date": self.date("1970-01-31"), **said}
        return PatientFacts(**fields)  # type: ignore[arg-type]  # a test's own shorthand

    def record(
        self, *entries: object, groups: Mapping[Group, GroupState] | None = None, patient: PatientFacts | None = None
    ) -> PatientRecord:
        """Every group complete unless said otherwise."""
        of = lambda kind: tuple(entry for entry in entries if isinstance(entry, kind))  # noqa: E731 - one line, used five times
        return PatientRecord(
            patient=patient or self.patient(),
            measurements=of(Measurement),
            problems=of(Problem),
            medications=of(MedicationOrder),
            stays=of(Stay),
            groups={**dict.fromkeys(Group, GroupState.COMPLETE), **(groups or {})},
        )

    def complete(self) -> list[object]:
        """What PREVENT needs, all of it good: a woman of 56 without disease."""
        return [
            self.lab("total_cholesterol", 210.0),
            self.lab("hdl_cholesterol", 52.0),
            self.lab("creatinine", 0.8),
            self.lab("sbp", 132.0, encounter_id="visit"),
            self.lab("weight", 80.0),
            self.lab("height", 170.0),
            self.smoking("266919005"),
            self.order("antihypertensive"),
            self.stay(10, 2, source=SourceRef("Encounter", "visit", "1")),
            self.problem(),
        ]

    def extract(
        self, model: str, record: PatientRecord, outputs: Mapping[tuple[str, str], InputValue] | None = None, setting: str = "ambulatory"
    ) -> dict[str, InputValue]:
        index = RecordIndex(record, self.terminology, AS_OF)
        chart = Chart(index, setting, outputs=outputs or {})  # type: ignore[arg-type]  # a literal in every caller
        return extract_inputs(self.manifests[model], chart)

    def report(self, model: str, record: PatientRecord, egfr: float | None = 88.0, setting: str | None = None) -> QualityReport:
        """Judge a record; PREVENT reads `egfr` from CKD-EPI's own report, as in an assessment."""
        outputs = {}
        if model != "ckdepi2021":
            upstream = self.report("ckdepi2021", record)
            outputs["ckdepi2021", "egfr"] = output_as_input(self.manifests["ckdepi2021"], upstream, "egfr", egfr, {"model": "ckdepi2021"})
        manifest = self.manifests[model]
        known, source = care_setting(setting, record, AS_OF, manifest)  # type: ignore[arg-type]  # a literal in every caller
        return judge(manifest, self.extract(model, record, outputs, known), record.patient, AS_OF, known, source)


@pytest.fixture(scope="session")
def manifests() -> dict[str, ModelManifest]:
    """The shipped manifests by model name."""
    models = Path(__file__).parents[2] / "models"
    return {path.parts[-3]: decode_manifest(path.read_bytes()) for path in sorted(models.glob("*/*/manifest.toml"))}


@pytest.fixture(scope="session")
def terminology() -> Terminology:
    """The packaged tables, with what the shipped releases bring."""
    return load_code_sets(Path(__file__).parents[2] / "models")


@pytest.fixture
def charts(terminology: Terminology, manifests: Mapping[str, ModelManifest]) -> Charts:
    """The language of records."""
    return Charts(terminology, manifests)


@pytest.fixture(scope="session")
def clinical_dir() -> Path:
    """The folder with the vector files."""
    folder = Path(os.environ.get("GATEWAY_CLINICAL_DIR") or Path(__file__).parents[3] / "shared" / "clinical")
    if not folder.is_dir():
        pytest.skip("the folder with the vector files (GATEWAY_CLINICAL_DIR) is not here")
    return folder
