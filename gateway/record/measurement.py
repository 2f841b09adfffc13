"""Observations and their components become measurements, for every concept that some model may read."""

import msgspec

from gateway.record.drop import DropReason
from gateway.record.fhir_time import parse_time
from gateway.record.received import Reading, source_of, status_code
from gateway.record.resource import CodeableConcept, Component, Observation, Quantity, Reference, ReferenceRange
from gateway.record.values import Code, FhirTime, Measurement, SourceRef

USABLE_STATUSES = frozenset({"final", "amended", "corrected"})
UCUM = "http://unitsofmeasure.org"
PURE_NUMBER = "1"  # UCUM: valueInteger is a count and has no unit to give
NO_VALUE = "no-value"  # neither a value that is read nor a reason for its absence
UNKNOWN_REASON = "unknown"
NORMAL_RANGE = "normal"
_ENCOUNTER = "Encounter/"


class _Whole(msgspec.Struct, frozen=True, gc=False):
    """What an Observation and its components have in common."""

    source: SourceRef
    status: str
    usable_status: bool
    time: FhirTime | None
    issued: FhirTime | None
    encounter_id: str | None


class _Said(msgspec.Struct, frozen=True, gc=False):
    """What stands where a number could stand: codes, words, or why there is nothing."""

    codes: tuple[Code, ...] = ()
    text: str | None = None
    absent_reason: str | None = None


def is_read(reading: Reading, observation: Observation) -> bool:
    """Tell whether anybody reads the Observation or one of its components."""
    observed = reading.observed
    if observation.code is not None:
        for coding in observation.code.coding:
            if (coding.system, coding.code) in observed:
                return True
    return any(_concepts(reading, part.code) for part in observation.component) if observation.component else False


def read_observation(reading: Reading, observation: Observation, resource_id: str, raw: bytes) -> list[Measurement]:
    """Return the measurements of one Observation: its own value, its components, or none when nobody reads its codes."""
    own = _concepts(reading, observation.code)
    parts = [(part, names) for part in observation.component if (names := _concepts(reading, part.code))] if observation.component else ()
    if not (own or parts) or not reading.may_use(observation, observation.subject, resource_id):
        return []
    if observation.focus and any(not focus.reference or not reading.identity.is_patient(focus.reference) for focus in observation.focus):
        reading.drop("Observation", resource_id, DropReason.FOCUS_ELSEWHERE)
        return []
    whole = _read_whole(reading, observation, resource_id, raw)
    found = [_measure(reading, whole, observation, own, component=False)] if own else []
    for part, names in parts:
        if part.modifier_extension:
            reading.drop("Observation", resource_id, DropReason.MODIFIER_EXTENSION, "component")
        else:
            found.append(_measure(reading, whole, part, names, component=True))
    return found


def _concepts(reading: Reading, code: CodeableConcept | None) -> tuple[str, ...]:
    """Return the concepts of all codings together, containers left out."""
    if code is None:
        return ()
    observed = reading.observed
    found: tuple[str, ...] = ()
    for coding in code.coding:
        names = observed.get((coding.system, coding.code))
        if names is not None and names != found:
            found = tuple(sorted({*found, *names})) if found else names
    return found


def _read_whole(reading: Reading, observation: Observation, resource_id: str, raw: bytes) -> _Whole:
    status = observation.status or "unknown"
    text = observation.effective_date_time
    time = parse_time(text)
    if time is None:
        time = _other_time(reading, observation, resource_id)
    issued = time if observation.issued == text else parse_time(observation.issued)
    if issued is None and observation.issued is not None:
        reading.drop("Observation", resource_id, DropReason.UNREADABLE_TIME, "issued")
    return _Whole(
        source_of(observation, resource_id, raw),
        status,
        status in USABLE_STATUSES,
        time,
        issued,
        _encounter_id(reading, observation.encounter) if observation.encounter is not None else None,
    )


def _other_time(reading: Reading, observation: Observation, resource_id: str) -> FhirTime | None:
    """Rules 3: effectiveDateTime, effectiveInstant, effectivePeriod.end, then .start; never issued."""
    if observation.effective_date_time is not None:
        return reading.time(observation, resource_id, "effectiveDateTime", observation.effective_date_time)
    if observation.effective_instant is not None:
        return reading.time(observation, resource_id, "effectiveInstant", observation.effective_instant)
    period = observation.effective_period
    if period is None:
        return None
    return reading.time(observation, resource_id, "effectivePeriod", period.end or period.start)


def _measure(reading: Reading, whole: _Whole, part: Observation | Component, concepts: tuple[str, ...], *, component: bool) -> Measurement:
    """Return the measurement of one part. A value beside a dataAbsentReason contradicts itself and is not taken."""
    codes = reading.codes(part.code)
    if part.data_absent_reason is not None:
        reason = status_code(part.data_absent_reason) or part.data_absent_reason.text or UNKNOWN_REASON
        return _without_number(whole, concepts, codes, _Said(absent_reason=reason), component=component)
    quantity = part.value_quantity
    if quantity is not None and quantity.value is not None:
        return _with_number(reading, whole, concepts, codes, (part, quantity, component))
    coded = part.value_codeable_concept
    if coded is not None:
        return _without_number(whole, concepts, codes, _Said(codes=reading.codes(coded), text=coded.text), component=component)
    if part.value_string is not None:
        return _without_number(whole, concepts, codes, _Said(text=part.value_string), component=component)
    if part.value_integer is not None:
        count = Quantity(value=float(part.value_integer), system=UCUM, code=PURE_NUMBER)
        return _with_number(reading, whole, concepts, codes, (part, count, component))
    return _without_number(whole, concepts, codes, _Said(absent_reason=NO_VALUE), component=component)


def _with_number(
    reading: Reading,
    whole: _Whole,
    concepts: tuple[str, ...],
    codes: tuple[Code, ...],
    given: tuple[Observation | Component, Quantity, bool],
) -> Measurement:
    part, quantity, component = given
    is_ucum = quantity.code is not None and (quantity.system == UCUM or _is_ucum(reading, quantity.system))
    low, high = _limits(part.reference_range, quantity) if part.reference_range else (None, None)
    return Measurement(
        source=whole.source,
        concepts=concepts,
        codes=codes,
        status=whole.status,
        usable_status=whole.usable_status,
        time=whole.time,
        issued=whole.issued,
        value=quantity.value,
        unit=quantity.code if is_ucum else quantity.unit or quantity.code,
        unit_text=quantity.unit,
        unit_coded=is_ucum,
        comparator=quantity.comparator,
        encounter_id=whole.encounter_id,
        reference_low=low,
        reference_high=high,
        component=component,
    )


def _without_number(whole: _Whole, concepts: tuple[str, ...], codes: tuple[Code, ...], said: _Said, *, component: bool) -> Measurement:
    return Measurement(
        source=whole.source,
        concepts=concepts,
        codes=codes,
        status=whole.status,
        usable_status=whole.usable_status,
        time=whole.time,
        issued=whole.issued,
        value_codes=said.codes,
        value_text=said.text,
        absent_reason=said.absent_reason,
        encounter_id=whole.encounter_id,
        component=component,
    )


def _is_ucum(reading: Reading, system: str | None) -> bool:
    return system is not None and reading.terminology.canonical_system(system) == UCUM


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


def _encounter_id(reading: Reading, encounter: Reference) -> str | None:
    """Return the id of the Encounter a resource belongs to, None when it leads elsewhere."""
    reference = encounter.reference
    if reference is None:
        return None
    if not reading.identity.aliases and reference.startswith(_ENCOUNTER) and reference.count("/") == 1:  # as most servers write it
        return reference.removeprefix(_ENCOUNTER)
    resolved = reading.identity.resolve(reference)
    return resolved.removeprefix(_ENCOUNTER) if resolved is not None and resolved.startswith(_ENCOUNTER) else None
