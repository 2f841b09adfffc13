"""Observations and their components become measurements, for every concept that some model may read."""

from gateway.record.drop import DropReason
from gateway.record.received import Reading, source_of, status_code
from gateway.record.resource import CodeableConcept, Component, Observation, Quantity, Reference, ReferenceRange
from gateway.record.values import FhirTime, Measurement

USABLE_STATUSES = frozenset({"final", "amended", "corrected"})
UCUM = "http://unitsofmeasure.org"
PURE_NUMBER = "1"  # UCUM: valueInteger is a count and has no unit to give
NO_VALUE = "no-value"  # neither a value that is read nor a reason for its absence
UNKNOWN_REASON = "unknown"
NORMAL_RANGE = "normal"
_ENCOUNTER = "Encounter/"


def read_observation(reading: Reading, observation: Observation, resource_id: str, raw: bytes) -> list[Measurement]:
    """Return the measurements of one Observation: its own value, its components, or none when nobody reads its codes."""
    own = _concepts(reading, observation.code)
    parts = [(part, concepts) for part in observation.component if (concepts := _concepts(reading, part.code))]
    if not own and not parts:
        return []
    if not reading.may_use(observation, observation.subject, resource_id):
        return []
    if any(not focus.reference or not reading.identity.is_patient(focus.reference) for focus in observation.focus):
        reading.drop("Observation", resource_id, DropReason.FOCUS_ELSEWHERE)
        return []
    shared = _SharedByParts(reading, observation, resource_id, raw)
    found = [shared.measure(observation, own, component=False)] if own else []
    for part, concepts in parts:
        if part.modifier_extension:
            reading.drop("Observation", resource_id, DropReason.MODIFIER_EXTENSION, "component")
        else:
            found.append(shared.measure(part, concepts, component=True))
    return found


def _concepts(reading: Reading, code: CodeableConcept | None) -> tuple[str, ...]:
    """Return the concepts of all codings together, containers left out."""
    if code is None:
        return ()
    observed = reading.terminology.observed
    found: tuple[str, ...] = ()
    for coding in code.coding:
        names = observed.get((coding.system or "", coding.code or ""))
        if names is not None and names != found:
            found = tuple(sorted({*found, *names}))
    if not found:
        return ()
    concepts = reading.terminology.concepts
    return tuple([name for name in found if not concepts[name].container])


class _SharedByParts:
    """What an Observation and its components have in common."""

    def __init__(self, reading: Reading, observation: Observation, resource_id: str, raw: bytes) -> None:
        self._reading = reading
        self._observation = observation
        self._id = resource_id
        self._source = source_of(observation, resource_id, raw)
        self._status = observation.status or "unknown"
        self._time = self._effective()
        self._issued = reading.time(observation, resource_id, "issued", observation.issued)
        self._encounter_id = encounter_id(reading, observation.encounter)

    def _effective(self) -> FhirTime | None:
        """Rules 3: effectiveDateTime, effectiveInstant, effectivePeriod.end, then .start; never issued."""
        observation, reading = self._observation, self._reading
        if observation.effective_date_time is not None:
            return reading.time(observation, self._id, "effectiveDateTime", observation.effective_date_time)
        if observation.effective_instant is not None:
            return reading.time(observation, self._id, "effectiveInstant", observation.effective_instant)
        period = observation.effective_period
        if period is None:
            return None
        return reading.time(observation, self._id, "effectivePeriod", period.end or period.start)

    def measure(self, part: Observation | Component, concepts: tuple[str, ...], *, component: bool) -> Measurement:
        """Return the measurement of one part, with whatever value it has."""
        quantity, coded, text, absent = _value_of(part)
        low, high = _limits(part.reference_range, quantity) if part.reference_range and quantity is not None else (None, None)
        is_ucum = quantity is not None and quantity.code is not None and _is_ucum(self._reading, quantity.system)
        return Measurement(
            source=self._source,
            concepts=concepts,
            codes=self._reading.codes(part.code),
            status=self._status,
            usable_status=self._status in USABLE_STATUSES,
            time=self._time,
            issued=self._issued,
            value=quantity.value if quantity is not None else None,
            unit=None if quantity is None else quantity.code if is_ucum else quantity.unit or quantity.code,
            unit_text=quantity.unit if quantity is not None else None,
            unit_coded=is_ucum,
            comparator=quantity.comparator if quantity is not None else None,
            value_codes=self._reading.codes(coded) if coded is not None else (),
            value_text=text,
            absent_reason=absent,
            encounter_id=self._encounter_id,
            reference_low=low,
            reference_high=high,
            component=component,
        )


_Value = tuple[Quantity | None, CodeableConcept | None, str | None, str | None]


def _value_of(part: Observation | Component) -> _Value:
    """Return (number, code, text, why absent). A value beside a dataAbsentReason contradicts itself and is not taken."""
    if part.data_absent_reason is not None:
        return None, None, None, status_code(part.data_absent_reason) or part.data_absent_reason.text or UNKNOWN_REASON
    quantity = part.value_quantity
    if quantity is not None and quantity.value is not None:
        return quantity, None, None, None
    if part.value_codeable_concept is not None:
        return None, part.value_codeable_concept, part.value_codeable_concept.text, None
    if part.value_string is not None:
        return None, None, part.value_string, None
    if part.value_integer is not None:
        return Quantity(value=float(part.value_integer), system=UCUM, code=PURE_NUMBER), None, None, None
    return None, None, None, NO_VALUE


def _is_ucum(reading: Reading, system: str | None) -> bool:
    return system == UCUM or (system is not None and reading.terminology.canonical_system(system) == UCUM)


def _limits(ranges: tuple[ReferenceRange, ...], quantity: Quantity) -> tuple[float | None, float | None]:
    """Return the laboratory's (low, high), only when one range stands there and its unit is the value's own."""
    normal = [found for found in ranges if found.type is None or status_code(found.type) == NORMAL_RANGE]
    if len(normal) != 1:
        return None, None
    return _limit(normal[0].low, quantity), _limit(normal[0].high, quantity)


def _limit(limit: Quantity | None, quantity: Quantity) -> float | None:
    if limit is None or (limit.code or limit.unit) not in (quantity.code, quantity.unit, None):
        return None
    return limit.value


def encounter_id(reading: Reading, encounter: Reference | None) -> str | None:
    """Return the id of the Encounter a resource belongs to, None when it leads elsewhere."""
    if encounter is None or not encounter.reference:
        return None
    resolved = reading.identity.resolve(encounter.reference)
    return resolved.removeprefix(_ENCOUNTER) if resolved is not None and resolved.startswith(_ENCOUNTER) else None
