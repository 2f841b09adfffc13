"""What every operator is given: the record by concept, the as-of time, the care setting, other models' outputs."""

import datetime as dt
from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.features.manifest import IndexStay, Setting
from gateway.features.readings import Readings
from gateway.features.stays import StayIndex, chart_in_use, index_stay
from gateway.features.value import NO_AGE_LIMIT, InputValue
from gateway.fhir.group import Group, GroupState
from gateway.record.values import Measurement, PatientRecord
from gateway.terminology import AgeLimit, Terminology

SiteWords = Mapping[str, float | str]  # what the hospital states for its models, by name
NO_SITE: SiteWords = {}


class ModelOutputs(Protocol):
    """What other models gave for the same patient and as-of time."""

    def get(self, output: tuple[str, str], /) -> InputValue | None:
        """Return one output by (model, output), None where that model was not run."""
        ...


NO_OUTPUTS: ModelOutputs = {}


class Target(msgspec.Struct, frozen=True, gc=False):
    """The input an operator works for: its name in reason codes, concept, unit and age limits in this care setting."""

    name: str
    concept: str
    unit: str
    limit: AgeLimit = NO_AGE_LIMIT


class RecordIndex:
    """One record at one as-of time, indexed once for all models that look at it. Nothing in it outlives the request."""

    def __init__(self, record: PatientRecord, terminology: Terminology, as_of: dt.datetime) -> None:
        """`record` holds nothing later than `as_of`, which is aware UTC."""
        if as_of.tzinfo is None:
            raise ValueError("an as-of time needs a time zone")
        self.record = record
        self.terminology = terminology
        self.as_of = as_of
        self._by_concept: dict[str, list[Measurement]] = {}
        by_concept = self._by_concept
        for measurement in record.measurements:
            for concept in measurement.concepts:
                if concept in by_concept:
                    by_concept[concept].append(measurement)
                else:
                    by_concept[concept] = [measurement]
        self._readings: dict[str, Readings] = {}
        self._in_use: bool | None = None
        self._stays: StayIndex | None = None

    def measurements(self, concept: str) -> list[Measurement]:
        """Return the concept's measurements in the record's order."""
        return self._by_concept.get(concept, [])

    def readings(self, concept: str) -> Readings:
        """Return the concept's numbers, usable and not, newest first."""
        found = self._readings.get(concept)
        if found is None:
            found = self._readings[concept] = Readings(concept, self.measurements(concept), self.terminology)
        return found

    def in_use(self) -> bool:
        """Tell whether the chart is in use, so that an empty list may mean "none" (rules 3)."""
        if self._in_use is None:
            self._in_use = chart_in_use(self.record.stays, self.as_of)
        return self._in_use

    def setting_of(self, measurement: Measurement) -> str | None:
        """Return the care setting in which something was measured, None where nobody says."""
        if self._stays is None:
            self._stays = StayIndex(self.record.stays)
        return self._stays.setting_of(measurement)

    def group_state(self, group: Group) -> GroupState:
        """Return how a part of the record arrived."""
        return self.record.groups.get(group, GroupState.NOT_SEARCHED)


class Chart:
    """An indexed record as one model looks at it: in which care setting, at which site, with which numbers of other models."""

    def __init__(
        self,
        index: RecordIndex,
        setting: Setting,
        site: SiteWords = NO_SITE,
        outputs: ModelOutputs = NO_OUTPUTS,
        *,
        stay: IndexStay | None = None,
    ) -> None:
        """`stay`: which stay the model is about, where it is about one."""
        self.index_stay = index_stay(stay.classes, stay.ended_days_max, index.record.stays, index.as_of) if stay is not None else None
        self.record = index.record
        self.terminology = index.terminology
        self.as_of = index.as_of
        self.setting = setting
        self.site = site
        self.outputs = outputs
        self.measurements = index.measurements
        self.readings = index.readings
        self.in_use = index.in_use
        self.setting_of = index.setting_of
        self.group_state = index.group_state
