"""The Patient resource becomes facts: sex in all the forms it is told, birth date, death, replacement (rules 4)."""

from collections.abc import Iterator

import msgspec

from gateway.record.drop import DropReason
from gateway.record.received import Reading, source_of, status_code
from gateway.record.resource import Extension, Patient
from gateway.record.values import PatientFacts, SourceRef

SEX_PARAMETER_URL = "http://hl7.org/fhir/StructureDefinition/patient-sexParameterForClinicalUse"
RECORDED_SEX_URL = "http://hl7.org/fhir/StructureDefinition/individual-recordedSexOrGender"
# US Core: sex assigned at birth, and sex; both are recorded sexes, neither is the sex parameter for clinical use.
US_CORE_SEX_URLS = frozenset(
    {
        "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex",
        "http://hl7.org/fhir/us/core/StructureDefinition/us-core-sex",
    }
)
GENDER_IDENTITY_LOINC = "76691-5"  # a recorded gender identity is not a recorded sex
SEVERAL_PARAMETERS = "specified"  # the sex-parameter code for "it depends, see the comment"
SEX_UNKNOWN = "unknown"  # the sex-parameter code for "not known"
REPLACED_BY = "replaced-by"

_SEX_BY_CODE = {
    "male": "male",
    "m": "male",
    "248153007": "male",
    "female": "female",
    "f": "female",
    "248152002": "female",
}
_SEX_NOT_SAID = frozenset(
    {
        "",
        "unknown",
        "unk",
        "asku",
        "asked-unknown",
        "asked-declined",
        "not-asked",
        "masked",
        "error",
        "not-applicable",
        "temp-unknown",
        "261665006",
        "184115007",
        "1220561009",  # SNOMED: unknown; patient sex unknown; not recorded
    }
)


def read_patient(reading: Reading, patient: Patient, patient_id: str, raw: bytes) -> PatientFacts:
    """Return the facts. A Patient whose meaning is changed by something unknown gives none but its source."""
    source = source_of(patient, patient_id, raw)
    if patient.modifier_extension or patient.implicit_rules:
        reason = DropReason.MODIFIER_EXTENSION if patient.modifier_extension else DropReason.IMPLICIT_RULES
        reading.drop("Patient", patient_id, reason)
        return unknown_patient(source)
    return PatientFacts(
        source=source,
        gender=patient.gender,
        sex_parameter=_sex_parameter(patient),
        recorded_sexes=_recorded_sexes(patient),
        birth_date=reading.time(patient, patient_id, "birthDate", patient.birth_date),
        deceased=bool(patient.deceased_boolean) or patient.deceased_date_time is not None,
        deceased_at=reading.time(patient, patient_id, "deceasedDateTime", patient.deceased_date_time),
        replaced=any(link.type == REPLACED_BY for link in patient.link),
        active=patient.active is not False,
    )


def with_unreadable_extension(facts: PatientFacts, raw: bytes) -> PatientFacts:
    """Return the facts when some extension could not be read: if it may have told the sex, the sex for clinical use is unknown."""
    if any(url.encode() in raw for url in (SEX_PARAMETER_URL, RECORDED_SEX_URL, *US_CORE_SEX_URLS)):
        return msgspec.structs.replace(facts, sex_parameter=SEX_UNKNOWN)
    return facts


def unknown_patient(source: SourceRef) -> PatientFacts:
    """Return facts that allow no estimate: nothing is known but that the resource exists."""
    return PatientFacts(source=source)


def _sex_parameter(patient: Patient) -> str | None:
    """Return the code of the sex parameter for clinical use; several that differ mean that it depends on the context."""
    codes = {_value_code(found) for found in patient.extension if found.url == SEX_PARAMETER_URL} - {""}
    return SEVERAL_PARAMETERS if len(codes) > 1 else next(iter(codes), None)


def _recorded_sexes(patient: Patient) -> tuple[str, ...]:
    """Return each recorded sex once: male, female, or other. One that says nothing (unknown, not asked) is no sex."""
    given = {code.lower() for code in _recorded_codes(patient)} - _SEX_NOT_SAID
    return tuple(sorted({_SEX_BY_CODE.get(code, "other") for code in given}))


def _recorded_codes(patient: Patient) -> Iterator[str]:
    for found in patient.extension:
        if found.url in US_CORE_SEX_URLS:
            yield _own_code(found)
        elif found.url == RECORDED_SEX_URL and _part_code(found, "type") != GENDER_IDENTITY_LOINC:
            yield _value_code(found)


def _value_code(found: Extension) -> str:
    return _part_code(found, "value") or _own_code(found)


def _part_code(found: Extension, url: str) -> str:
    return next((_own_code(part) for part in found.extension if part.url == url), "")


def _own_code(found: Extension) -> str:
    if found.value_code:
        return found.value_code
    if found.value_coding is not None:
        return found.value_coding.code or ""
    return status_code(found.value_codeable_concept)
