"""The exact form of what we emit: every primitive has its type and bounds, every extension its one value, and nothing else may stand there.

This is narrower than FHIR R4: an element that we never write is an error, because nobody reviewed it. A new element or extension is
added here first. msgspec runs these checks in C, over every element of every list.
"""

import datetime as dt
import sys
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.features.value import InputState
from gateway.quality.report import Verdict
from gateway.results import extension
from gateway.results.answer import Rung

NUMBER_MAX = sys.float_info.max  # a record may hold any number; the bound is what finds NaN and infinity

Text = Annotated[str, Meta(min_length=1)]
Code = Annotated[str, Meta(pattern=r"^\S+\Z")]  # R4 datatype code, without the inner blanks that none of ours has
Decimal = Annotated[float, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
Percentage = Annotated[float, Meta(ge=0, le=100)]  # RiskAssessment ras-2
Instant = Annotated[dt.datetime, Meta(tz=True)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
# R4 literal reference: an id of this Bundle, or a type and id, relative or absolute, of one version or not.
Address = Annotated[
    str,
    Meta(
        pattern=r"^(?:[A-Z]|https?://[^\s?#]+/[A-Z])[A-Za-z]+/[A-Za-z0-9.-]{1,64}(?:/_history/[A-Za-z0-9.-]{1,64})?\Z|^urn:uuid:[0-9a-f-]{36}\Z"
    ),
]
Status = Literal["registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"]


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Refuses what it does not know."""


class CodingForm(_Form, frozen=True, kw_only=True):
    """Coding."""

    system: Text
    code: Code
    version: Text | UnsetType = UNSET
    display: Text | UnsetType = UNSET


Codings = Annotated[list[CodingForm], Meta(min_length=1)]


class ConceptForm(_Form, frozen=True, kw_only=True):
    """CodeableConcept."""

    coding: Codings | UnsetType = UNSET
    text: Text | UnsetType = UNSET


class QuantityForm(_Form, frozen=True, kw_only=True):
    """Quantity."""

    value: Decimal
    unit: Text | UnsetType = UNSET
    system: Text | UnsetType = UNSET
    code: Code | UnsetType = UNSET


class IdentifierForm(_Form, frozen=True, kw_only=True):
    """Identifier."""

    value: Text
    system: Text | UnsetType = UNSET


class DigestForm(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.RESOURCE_SHA256):
    """Extension on a reference without a version."""

    valueString: Sha256  # noqa: N815 - FHIR's own name


class ReferenceForm(_Form, frozen=True, kw_only=True):
    """Reference."""

    reference: Address | UnsetType = UNSET
    type: Code | UnsetType = UNSET
    identifier: IdentifierForm | UnsetType = UNSET
    display: Text | UnsetType = UNSET
    extension: Annotated[list[DigestForm], Meta(min_length=1)] | UnsetType = UNSET


class SourceForm(_Form, frozen=True, kw_only=True):
    """Reference inside `input`: made by the one function that also makes the basis, where each address is looked at."""

    reference: Text | UnsetType = UNSET
    type: Text | UnsetType = UNSET
    identifier: IdentifierForm | UnsetType = UNSET
    display: Text | UnsetType = UNSET
    extension: Annotated[list[DigestForm], Meta(min_length=1)] | UnsetType = UNSET


References = Annotated[list[ReferenceForm], Meta(min_length=1)]


class PeriodForm(_Form, frozen=True, kw_only=True):
    """Period; that its ends are dateTimes in order is looked at apart, once per period."""

    start: Text
    end: Text


class AbsentForm(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.DATA_ABSENT_REASON):
    """Extension on a prediction without a number (rules 1)."""

    valueCode: Literal["not-applicable", "masked", "error", "unknown"]  # noqa: N815 - FHIR's own name


class ScoreForm(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.SCORE):
    """Extension on a prediction: a score that is no probability (rules 2)."""

    valueDecimal: Decimal  # noqa: N815 - FHIR's own name


class LowPart(_Form, frozen=True, kw_only=True, tag_field="url", tag="low"):
    """Part of `input` or `score-range`: the lower end of an interval."""

    valueDecimal: Decimal  # noqa: N815 - FHIR's own name


class HighPart(_Form, frozen=True, kw_only=True, tag_field="url", tag="high"):
    """Part of `input` or `score-range`: the upper end of an interval."""

    valueDecimal: Decimal  # noqa: N815 - FHIR's own name


class ScoreRangeForm(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.SCORE_RANGE):
    """Extension on a fallback's prediction: both ends of a score with what is missing (rules 2)."""

    extension: Annotated[list[LowPart | HighPart], Meta(min_length=2, max_length=2)]


class PredictionForm(_Form, frozen=True, kw_only=True):
    """RiskAssessment.prediction."""

    outcome: ConceptForm
    rationale: Text | UnsetType = UNSET
    probabilityDecimal: Percentage | UnsetType = UNSET  # noqa: N815 - FHIR's own name
    qualitativeRisk: ConceptForm | UnsetType = UNSET  # noqa: N815 - FHIR's own name
    whenPeriod: PeriodForm | UnsetType = UNSET  # noqa: N815 - FHIR's own name
    extension: Annotated[list[AbsentForm | ScoreForm | ScoreRangeForm], Meta(min_length=1)] | UnsetType = UNSET


class NamePart(_Form, frozen=True, kw_only=True, tag_field="url", tag="name"):
    """Part of `input`: its name."""

    valueString: Text  # noqa: N815 - FHIR's own name


class StatePart(_Form, frozen=True, kw_only=True, tag_field="url", tag="state"):
    """Part of `input`: its state."""

    valueCode: InputState  # noqa: N815 - FHIR's own name


class ValuePart(_Form, frozen=True, kw_only=True, tag_field="url", tag="value"):
    """Part of `input`: its value in the manifest's unit."""

    valueQuantity: QuantityForm  # noqa: N815 - FHIR's own name


class TimePart(_Form, frozen=True, kw_only=True, tag_field="url", tag="time"):
    """Part of `input`: the oldest time the value rests on."""

    valueInstant: Instant  # noqa: N815 - FHIR's own name


class TextPart(_Form, frozen=True, kw_only=True, tag_field="url", tag="text"):
    """Part of `input`: words for people."""

    valueString: Text  # noqa: N815 - FHIR's own name


class LineagePart(_Form, frozen=True, kw_only=True, tag_field="url", tag="lineage"):
    """Part of `input`: the model that computed it."""

    valueString: Text  # noqa: N815 - FHIR's own name


class ReasonPart(_Form, frozen=True, kw_only=True, tag_field="url", tag="reason"):
    """Part of `input`: a reason of its own."""

    valueString: Text  # noqa: N815 - FHIR's own name


class RawPart(_Form, frozen=True, kw_only=True, tag_field="url", tag="raw"):
    """Part of `input`: number and unit as received."""

    valueString: Text  # noqa: N815 - FHIR's own name


class SourcePart(_Form, frozen=True, kw_only=True, tag_field="url", tag="source"):
    """Part of `input`: a resource it rests on."""

    valueReference: SourceForm  # noqa: N815 - FHIR's own name


InputPart = NamePart | StatePart | ValuePart | LowPart | HighPart | TimePart | TextPart | LineagePart | ReasonPart | RawPart | SourcePart


class InputExtension(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.INPUT):
    """One input that an answer rests on, or could not rest on."""

    extension: Annotated[list[InputPart], Meta(min_length=2)]


class VerdictExtension(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.VERDICT):
    """The verdict (rules 1)."""

    valueCode: Verdict  # noqa: N815 - FHIR's own name


class RungExtension(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.RUNG):
    """Which step of the ladder answered."""

    valueCode: Rung  # noqa: N815 - FHIR's own name


class VariantExtension(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.VARIANT):
    """The model's variant that answered."""

    valueString: Text  # noqa: N815 - FHIR's own name


class ReasonExtension(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.REASON):
    """One reason code of the answer."""

    valueString: Text  # noqa: N815 - FHIR's own name


class StandInExtension(_Form, frozen=True, kw_only=True, tag_field="url", tag=extension.STAND_IN_FOR):
    """The model whose place a fallback score does not take."""

    valueString: Text  # noqa: N815 - FHIR's own name


AnswerExtension = VerdictExtension | RungExtension | VariantExtension | ReasonExtension | StandInExtension | InputExtension


class NarrativeForm(_Form, frozen=True, kw_only=True):
    """Narrative."""

    status: Literal["generated"]
    div: Text


class MetaForm(_Form, frozen=True, kw_only=True):
    """Meta, as far as we write it: the security label."""

    security: Codings


class AnnotationForm(_Form, frozen=True, kw_only=True):
    """Annotation."""

    text: Text


class _AnswerForm(_Form, frozen=True, kw_only=True):
    """What every answer has."""

    status: Status
    subject: ReferenceForm
    meta: MetaForm | UnsetType = UNSET
    text: NarrativeForm | UnsetType = UNSET
    extension: Annotated[list[AnswerExtension], Meta(min_length=1)] | UnsetType = UNSET
    identifier: Annotated[list[IdentifierForm], Meta(min_length=1)] | UnsetType = UNSET
    note: Annotated[list[AnnotationForm], Meta(min_length=1)] | UnsetType = UNSET
    code: ConceptForm | UnsetType = UNSET
    method: ConceptForm | UnsetType = UNSET


class RiskAssessmentForm(_AnswerForm, frozen=True, kw_only=True):
    """RiskAssessment."""

    resourceType: Literal["RiskAssessment"]  # noqa: N815 - FHIR's own name
    occurrenceDateTime: Text | UnsetType = UNSET  # noqa: N815 - FHIR's own name
    performer: ReferenceForm | UnsetType = UNSET
    basis: References | UnsetType = UNSET
    prediction: Annotated[list[PredictionForm], Meta(min_length=1)] | UnsetType = UNSET


class ObservationForm(_AnswerForm, frozen=True, kw_only=True):
    """Observation."""

    resourceType: Literal["Observation"]  # noqa: N815 - FHIR's own name
    category: Annotated[list[ConceptForm], Meta(min_length=1)]
    effectiveDateTime: Text  # noqa: N815 - FHIR's own name
    device: ReferenceForm
    valueQuantity: QuantityForm | UnsetType = UNSET  # noqa: N815 - FHIR's own name
    dataAbsentReason: ConceptForm | UnsetType = UNSET  # noqa: N815 - FHIR's own name
    interpretation: Annotated[list[ConceptForm], Meta(min_length=1)] | UnsetType = UNSET
    derivedFrom: References | UnsetType = UNSET  # noqa: N815 - FHIR's own name
