"""The Parameters of `$assess-risk`: read strictly, because a misspelt parameter that is ignored changes a clinical answer."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import get_args

import msgspec

from gateway.api.envelope import reject_repeated_keys
from gateway.errors import BadRequest, ErrorCode
from gateway.features.manifest import Setting

# FHIR R4 datatype `id` (2.24.0.1): up to 64 of these characters.
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
# FHIR R4 datatypes `date` and `dateTime`, whole days and zoned seconds only; in years that no arithmetic overflows.
_AS_OF = re.compile(r"(19|2\d)\d\d-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?", re.ASCII)
_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAMES = frozenset({"model", "asOf", "setting", "patient", "record", "recordComplete"})


class _Reference(msgspec.Struct):
    reference: str = ""


class _Parameter(msgspec.Struct, rename="camel"):
    name: str
    value_string: str | None = None
    value_code: str | None = None
    value_id: str | None = None
    value_date_time: str | None = None
    value_instant: str | None = None
    value_date: str | None = None
    value_boolean: bool | None = None
    value_reference: _Reference | None = None
    resource: msgspec.Raw = msgspec.Raw()  # `Raw | None` accepts null alone; empty means absent


class _Parameters(msgspec.Struct, rename="camel"):
    resource_type: str
    parameter: list[_Parameter] = []


class AssessParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller of `$assess-risk` said."""

    models: tuple[str, ...] = ()
    as_of: dt.datetime | None = None
    setting: Setting | None = None
    patient_id: str | None = None
    record: bytes | None = None
    record_complete: bool = False


_decode = msgspec.json.Decoder(_Parameters).decode


def parse_parameters(body: bytes) -> AssessParameters:
    """Parse the body of `$assess-risk`; an empty body means no parameters.

    Raises:
        BadRequest: not a Parameters resource, an unknown or repeated parameter, a repeated key, or a value of the wrong kind.
    """
    if not body.strip():
        return AssessParameters()
    try:
        parsed = _decode(body)
    except msgspec.ValidationError:
        raise _malformed("The body is not a Parameters resource of the operation's form.", "Parameters") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(ErrorCode.MALFORMED_JSON, "The body is not valid JSON.") from None
    if parsed.resource_type != "Parameters":
        raise _malformed("The body must be a Parameters resource.", "Parameters")
    reject_repeated_keys(body, (bytes(parameter.resource) for parameter in parsed.parameter if parameter.resource))
    return _collect(parsed.parameter)


def _malformed(text: str, expression: str) -> BadRequest:
    return BadRequest(ErrorCode.MALFORMED_PARAMETERS, text, expression=expression)


def _collect(parameters: list[_Parameter]) -> AssessParameters:
    models: list[str] = []
    single: dict[str, _Parameter] = {}
    for parameter in parameters:
        if parameter.name not in _NAMES:
            raise BadRequest(ErrorCode.UNKNOWN_PARAMETER, "The operation has no such parameter.", expression="Parameters.parameter.name")
        if parameter.name == "model":
            models.append(_model_name(parameter))
        elif parameter.name in single:
            raise _malformed("A parameter that may stand once is repeated.", f"Parameters.parameter.where(name='{parameter.name}')")
        else:
            single[parameter.name] = parameter
    return AssessParameters(
        models=tuple(dict.fromkeys(models)),
        as_of=_as_of(single),
        setting=_setting(single),
        patient_id=_patient(single),
        record=_record(single),
        record_complete=_flag(single),
    )


def _model_name(parameter: _Parameter) -> str:
    name = parameter.value_string or parameter.value_code or ""
    if not _MODEL_NAME.fullmatch(name):
        raise BadRequest(ErrorCode.UNKNOWN_MODEL, "No such model is released here.", expression="model")
    return name


def _as_of(single: Mapping[str, _Parameter]) -> dt.datetime | None:
    parameter = single.get("asOf")
    if parameter is None:
        return None
    return parse_as_of(parameter.value_date_time or parameter.value_instant or parameter.value_date or "")


def parse_as_of(text: str) -> dt.datetime:
    """Parse an as-of time: a FHIR dateTime with a zone, or a date, which means its end (everything of that day is seen), in UTC.

    Raises:
        BadRequest: neither of the two.
    """
    if not _AS_OF.fullmatch(text):
        raise _bad_as_of()
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError:
        raise _bad_as_of() from None
    if parsed.tzinfo is None:
        return parsed.replace(hour=23, minute=59, second=59, tzinfo=dt.UTC)
    return parsed


def _bad_as_of() -> BadRequest:
    return BadRequest(ErrorCode.INVALID_AS_OF, "asOf must be a date, or a dateTime with a time zone.", expression="asOf")


def _setting(single: Mapping[str, _Parameter]) -> Setting | None:
    parameter = single.get("setting")
    if parameter is None:
        return None
    return parse_setting(parameter.value_code or parameter.value_string or "")


def parse_setting(text: str) -> Setting:
    """Parse a care setting.

    Raises:
        BadRequest: not one of ed, inpatient, ambulatory.
    """
    for setting in get_args(Setting):
        if text == setting:
            return setting  # type: ignore[no-any-return]  # get_args is untyped
    raise BadRequest(ErrorCode.INVALID_SETTING, "setting must be ed, inpatient or ambulatory.", expression="setting")


def _patient(single: Mapping[str, _Parameter]) -> str | None:
    parameter = single.get("patient")
    if parameter is None:
        return None
    text = parameter.value_reference.reference if parameter.value_reference else (parameter.value_id or parameter.value_string or "")
    return parse_patient_id(text.removeprefix("Patient/"))


def parse_patient_id(text: str) -> str:
    """Return a FHIR id.

    Raises:
        BadRequest: the text is not one.
    """
    if not _FHIR_ID.fullmatch(text):
        raise BadRequest(ErrorCode.INVALID_PATIENT_ID, "The patient id is not a valid FHIR id.", expression="patient")
    return text


def _record(single: Mapping[str, _Parameter]) -> bytes | None:
    parameter = single.get("record")
    if parameter is None:
        return None
    record = bytes(parameter.resource)
    if not record:
        raise _malformed("record must carry a Bundle as its resource.", "Parameters.parameter.where(name='record').resource")
    return record


def _flag(single: Mapping[str, _Parameter]) -> bool:
    parameter = single.get("recordComplete")
    if parameter is None:
        return False
    if parameter.value_boolean is None:
        raise _malformed("recordComplete must be a valueBoolean.", "Parameters.parameter.where(name='recordComplete')")
    return parameter.value_boolean
