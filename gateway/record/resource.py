"""The parts of FHIR R4 resources that are read, as tolerant structs: unknown elements are skipped, every element may be absent.

Only what some rule looks at is here. Decoding with these types costs a sixth of building dictionaries.
"""

import msgspec


class _Element(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    """Read-only, no cycles, so the garbage collector need not look at it."""


class Coding(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """A coding as received."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """Codings and a text."""

    coding: tuple[Coding, ...] = ()
    text: str | None = None


class Quantity(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """A number with its unit, as text and as code."""

    value: float | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class Period(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """Both ends as text."""

    start: str | None = None
    end: str | None = None


class Reference(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """A literal reference; an identifier alone leads nowhere."""

    reference: str | None = None
    display: str | None = None


class Meta(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """Version and time of the copy."""

    version_id: str | None = None
    last_updated: str | None = None


class Extension(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """An extension with the value types that sex extensions use, and one level of its own extensions below."""

    url: str = ""
    extension: tuple["Extension", ...] = ()
    value_code: str | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_coding: Coding | None = None


class Opaque(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """Something whose presence is all that matters."""


class Resource(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    """What every resource may carry; `modifier_extension` and `implicit_rules` may change the meaning of all the rest."""

    resource_type: str
    id: str | None = None
    meta: Meta | None = None
    implicit_rules: str | None = None
    modifier_extension: tuple[Opaque, ...] = ()


class ReferenceRange(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """The laboratory's own limits."""

    low: Quantity | None = None
    high: Quantity | None = None
    type: CodeableConcept | None = None


class Component(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """A part of an Observation; its status, subject and time are those of the whole."""

    code: CodeableConcept | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_integer: int | None = None
    value_boolean: bool | None = None
    data_absent_reason: CodeableConcept | None = None
    reference_range: tuple[ReferenceRange, ...] = ()
    modifier_extension: tuple[Opaque, ...] = ()


class Observation(Resource, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 Observation."""

    status: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    focus: tuple[Reference, ...] = ()
    encounter: Reference | None = None
    effective_date_time: str | None = None
    effective_instant: str | None = None
    effective_period: Period | None = None
    issued: str | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_integer: int | None = None
    value_boolean: bool | None = None
    data_absent_reason: CodeableConcept | None = None
    reference_range: tuple[ReferenceRange, ...] = ()
    component: tuple[Component, ...] = ()


class PatientLink(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """A link to another Patient resource; only its type matters here."""

    type: str | None = None


class Patient(Resource, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 Patient, without names, addresses and identifiers: nothing here needs them."""

    active: bool | None = None
    gender: str | None = None
    birth_date: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None
    link: tuple[PatientLink, ...] = ()
    extension: tuple[Extension, ...] = ()


class Condition(Resource, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 Condition."""

    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    onset_date_time: str | None = None
    onset_period: Period | None = None
    abatement_date_time: str | None = None
    abatement_period: Period | None = None
    recorded_date: str | None = None


class Procedure(Resource, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 Procedure."""

    status: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    performed_date_time: str | None = None
    performed_period: Period | None = None


class Ingredient(_Element, frozen=True, kw_only=True, gc=False, rename="camel"):
    """One ingredient of a Medication; given as a reference it stays unknown."""

    item_codeable_concept: CodeableConcept | None = None


class Medication(Resource, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 Medication."""

    code: CodeableConcept | None = None
    ingredient: tuple[Ingredient, ...] = ()


class _Order(Resource, frozen=True, kw_only=True, gc=False, rename="camel"):
    """What MedicationRequest and MedicationStatement share."""

    status: str | None = None
    subject: Reference | None = None
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    contained: tuple[msgspec.Raw, ...] = ()


class MedicationRequest(_Order, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 MedicationRequest."""

    intent: str | None = None
    do_not_perform: bool | None = None
    authored_on: str | None = None


class MedicationStatement(_Order, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 MedicationStatement."""

    date_asserted: str | None = None
    effective_date_time: str | None = None
    effective_period: Period | None = None


class Encounter(Resource, frozen=True, kw_only=True, gc=False, rename="camel"):
    """R4 Encounter; `class` is a Coding."""

    status: str | None = None
    class_: Coding | None = msgspec.field(name="class", default=None)
    priority: CodeableConcept | None = None
    subject: Reference | None = None
    period: Period | None = None


READ_TYPES: dict[str, type[Resource]] = {
    "Patient": Patient,
    "Observation": Observation,
    "Condition": Condition,
    "Procedure": Procedure,
    "MedicationRequest": MedicationRequest,
    "MedicationStatement": MedicationStatement,
    "Medication": Medication,
    "Encounter": Encounter,
}
