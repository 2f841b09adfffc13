"""The extensions of our answers. One page, because integrators parse them.

| extension (under BASE) | on | value |
|---|---|---|
| verdict | RiskAssessment, Observation | valueCode: scored, scored-degraded, fallback, indeterminate, not-applicable |
| rung | RiskAssessment, Observation | valueCode: gpu, cpu, fallback-score, none |
| reason | RiskAssessment, Observation | valueString: one reason code, `CODE:subject`; stands once per reason |
| variant | RiskAssessment | valueString: the model's variant that answered |
| input | RiskAssessment, Observation | complex, once per input; its parts are listed below |
| score | RiskAssessment.prediction | valueDecimal: a score that is no probability (points, an index) |
| score-range | RiskAssessment.prediction of a fallback | low and high, valueDecimal: the ends a score can have |
| stand-in-for | RiskAssessment, Observation of a fallback | valueString: the model whose place it does not take |
| resource-sha256 | basis, derivedFrom | valueString: SHA-256 of the resource as received, where it has no version |

| part of `input` | value |
|---|---|
| name | valueString: as in the manifest and in reason codes |
| state | valueCode: valid, concluded-absent, assumed, missing, stale, ... |
| value | valueQuantity in the manifest's unit; also where it was found but not used |
| low, high | valueDecimal: both ends where only an interval is known (an age from a birth year) |
| time | valueInstant: the oldest time the value rests on |
| text | valueString: for people |
| lineage | valueString: `model@version sha256` of the model that computed it |
| reason | valueString, once per reason of this input |
| raw, source | valueString (number and unit as received) and valueReference of each resource it rests on |
"""

BASE = "https://clinical-inference-gateway.example/fhir"
STRUCTURE = f"{BASE}/StructureDefinition"

VERDICT = f"{STRUCTURE}/verdict"
RUNG = f"{STRUCTURE}/rung"
REASON = f"{STRUCTURE}/reason"
VARIANT = f"{STRUCTURE}/variant"
INPUT = f"{STRUCTURE}/input"
STAND_IN_FOR = f"{STRUCTURE}/stand-in-for"
SCORE = f"{STRUCTURE}/score"
SCORE_RANGE = f"{STRUCTURE}/score-range"
RESOURCE_SHA256 = f"{STRUCTURE}/resource-sha256"

MODEL_SYSTEM = f"{BASE}/CodeSystem/model"
SCORE_SYSTEM = f"{BASE}/CodeSystem/score"
ERROR_SYSTEM = f"{BASE}/CodeSystem/error"
IDENTIFIER_SYSTEM = "urn:ietf:rfc:3986"

DATA_ABSENT_REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
UCUM = "http://unitsofmeasure.org"


def printable(text: str) -> str:
    """Return a text on one line: what cannot be printed (controls, lone surrogates, bidi marks) becomes a space."""
    return text if text.isprintable() else "".join(character if character.isprintable() else " " for character in text)


def plain_text(text: str) -> str:
    """Return a valid FHIR string and XHTML text: printable, without blanks at its ends."""
    return printable(text).strip()


def code_extension(url: str, code: str) -> dict[str, object]:
    """Return an extension with a valueCode."""
    return {"url": url, "valueCode": code}


def decimal_extension(url: str, number: float) -> dict[str, object]:
    """Return an extension with a valueDecimal."""
    return {"url": url, "valueDecimal": number}


def string_extension(url: str, text: str) -> dict[str, object]:
    """Return an extension with a valueString."""
    return {"url": url, "valueString": text}
