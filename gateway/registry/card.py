"""The model card: what the developer says of a model, in the words of two schemes.

- ONC HTI-1, 45 CFR 170.315(b)(11)(iv)(B): the 31 source attributes of a predictive decision support intervention, in its nine groups. The
  name of the developer is the manifest's `publisher`; `developer_contact` completes the first attribute.
- CHAI Applied Model Card v0.2: its sections, each either an attribute of its own here, one of ONC's, or the manifest's.

Nothing may be left out: what is not known is written as "not available". The intended use is the manifest's, word for word.
"""

from collections.abc import Iterator

import msgspec

from gateway.features.manifest import ModelManifest
from gateway.features.operator import Strict
from gateway.registry.refusal import ReleaseRefused

CARD = "card.toml"
NOT_AVAILABLE = "not available"


class Details(Strict, frozen=True, kw_only=True):
    """Details and output of the intervention (B)(1)."""

    developer_contact: str
    funding_source: str
    output_value: str
    output_type: str


class Purpose(Strict, frozen=True, kw_only=True):
    """Purpose of the intervention (B)(2)."""

    intended_use: str
    intended_patients: str
    intended_users: str
    decision_role: str


class Cautions(Strict, frozen=True, kw_only=True):
    """Cautioned out-of-scope use (B)(3)."""

    out_of_scope: str
    risks_and_limitations: str


class Development(Strict, frozen=True, kw_only=True):
    """Development details and input features (B)(4)."""

    training_criteria: str
    demographic_inputs: str
    training_representativeness: str
    training_relevance: str


class Fairness(Strict, frozen=True, kw_only=True):
    """Process used to ensure fairness in development (B)(5)."""

    fairness_approach: str
    bias_approaches: str


class ExternalValidation(Strict, frozen=True, kw_only=True):
    """External validation process (B)(6)."""

    external_source: str
    external_party: str
    external_representativeness: str
    external_process: str


class Performance(Strict, frozen=True, kw_only=True):
    """Quantitative measures of performance (B)(7)."""

    validity_internal: str
    fairness_internal: str
    validity_external: str
    fairness_external: str
    outcome_evaluations: str


class Maintenance(Strict, frozen=True, kw_only=True):
    """Ongoing maintenance of implementation and use (B)(8)."""

    validity_monitoring: str
    validity_local: str
    fairness_monitoring: str
    fairness_local: str


class Updates(Strict, frozen=True, kw_only=True):
    """Update and continued validation or fairness assessment schedule (B)(9)."""

    update_process: str
    correction_frequency: str


class Chai(Strict, frozen=True, kw_only=True):
    """Sections of CHAI's card that neither ONC's attributes nor the manifest hold."""

    release_stage: str
    release_date: str
    global_availability: str
    regulatory_approval: str
    summary: str
    keywords: str
    how_to_use: str
    known_biases: str
    clinical_risk_level: str
    model_type: str
    foundation_models: str
    input_data_source: str
    input_and_output_types: str
    development_data: str
    security: str
    transparency: str
    third_party_information: str
    stakeholders_consulted: str
    usefulness: str
    fairness_and_equity: str
    safety_and_reliability: str
    clinical_trial: str
    peer_reviewed_publications: str
    reimbursement_status: str
    patient_consent_or_disclosure: str
    bibliography: str


class ModelCard(Strict, frozen=True, kw_only=True):
    """Everything a card says; every text is there."""

    details: Details
    purpose: Purpose
    cautions: Cautions
    development: Development
    fairness: Fairness
    external_validation: ExternalValidation
    performance: Performance
    maintenance: Maintenance
    updates: Updates
    chai: Chai


ONC_GROUPS = ("details", "purpose", "cautions", "development", "fairness", "external_validation", "performance", "maintenance", "updates")


class CardRefused(ReleaseRefused):
    """The card cannot be decoded, leaves something out, or contradicts the manifest."""


def decode_card(content: bytes, manifest: ModelManifest) -> ModelCard:
    """Decode a card and hold it against the manifest.

    Raises:
        CardRefused: a text is missing, empty or unknown, or the intended use is another.
    """
    try:
        card = msgspec.toml.decode(content, type=ModelCard)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CardRefused(CARD, str(error)) from None
    for place, text in _texts(card):
        if not text.strip():
            raise CardRefused(CARD, f'{place} is empty; what is not known is written as "{NOT_AVAILABLE}"')
    if card.purpose.intended_use != manifest.intended_use:
        raise CardRefused(CARD, "purpose.intended_use is not the manifest's intended_use")
    return card


def source_attributes(card: ModelCard) -> tuple[tuple[str, str, str], ...]:
    """Return ONC's 31 source attributes in their order: group, name and text."""
    return tuple((group, name, text) for group in ONC_GROUPS for name, text in msgspec.structs.asdict(getattr(card, group)).items())


def _texts(card: ModelCard) -> Iterator[tuple[str, str]]:
    for group in (*ONC_GROUPS, "chai"):
        for name, text in msgspec.structs.asdict(getattr(card, group)).items():
            yield f"{group}.{name}", text
