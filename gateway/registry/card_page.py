"""A model card as people read it: Markdown, or an HTML page that needs nothing beside it. The terminal shows the Markdown."""

import html
from collections.abc import Iterator

import msgspec

from gateway.features.manifest import ModelManifest, ReleaseIdentity
from gateway.registry.card import ONC_GROUPS, ModelCard, source_attributes

TITLES = {
    "details": "Details and output",
    "purpose": "Purpose",
    "cautions": "Cautioned out-of-scope use",
    "development": "Development and input features",
    "fairness": "Fairness in development",
    "external_validation": "External validation",
    "performance": "Quantitative measures of performance",
    "maintenance": "Ongoing maintenance",
    "updates": "Update and reassessment schedule",
}
# Section -> label, and where its text stands: in a group of the card, or in the manifest.
CHAI_SECTIONS = {
    "Basic information and release": (
        ("Model name", "manifest", "title"),
        ("Model developer", "manifest", "publisher"),
        ("Developer contact", "details", "developer_contact"),
        ("Release stage", "chai", "release_stage"),
        ("Release date", "chai", "release_date"),
        ("Release version", "manifest", "version"),
        ("Global availability", "chai", "global_availability"),
        ("Regulatory approval", "chai", "regulatory_approval"),
    ),
    "Model summary": (("Summary", "chai", "summary"), ("Keywords", "chai", "keywords")),
    "Uses and directions": (
        ("Intended use and workflow", "purpose", "intended_use"),
        ("Primary intended users", "purpose", "intended_users"),
        ("How to use", "chai", "how_to_use"),
        ("Targeted patient population", "purpose", "intended_patients"),
        ("Cautioned out-of-scope settings", "cautions", "out_of_scope"),
    ),
    "Warnings": (
        ("Known risks and limitations", "cautions", "risks_and_limitations"),
        ("Known biases or ethical considerations", "chai", "known_biases"),
        ("Clinical risk level", "chai", "clinical_risk_level"),
    ),
    "Trust ingredients": (
        ("Outcomes and outputs", "details", "output_value"),
        ("Model type", "chai", "model_type"),
        ("Foundation models", "chai", "foundation_models"),
        ("Input data source", "chai", "input_data_source"),
        ("Input and output data types", "chai", "input_and_output_types"),
        ("Development data characterization", "chai", "development_data"),
        ("Bias mitigation approaches", "fairness", "bias_approaches"),
        ("Ongoing maintenance", "maintenance", "validity_monitoring"),
        ("Security and compliance", "chai", "security"),
        ("Transparency", "chai", "transparency"),
        ("Funding source", "details", "funding_source"),
        ("Third-party information", "chai", "third_party_information"),
        ("Stakeholders consulted", "chai", "stakeholders_consulted"),
    ),
    "Key metrics": (
        ("Usefulness, usability and efficacy", "chai", "usefulness"),
        ("Fairness and equity", "chai", "fairness_and_equity"),
        ("Safety and reliability", "chai", "safety_and_reliability"),
    ),
    "Resources and bibliography": (
        ("Evaluation references", "performance", "outcome_evaluations"),
        ("Clinical trial", "chai", "clinical_trial"),
        ("Peer-reviewed publications", "chai", "peer_reviewed_publications"),
        ("Reimbursement status", "chai", "reimbursement_status"),
        ("Patient consent or disclosure", "chai", "patient_consent_or_disclosure"),
        ("Bibliography", "chai", "bibliography"),
    ),
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "h2{margin-top:2rem;border-bottom:1px solid #ccc}dt{font-weight:600;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere}"
    ".na{color:#767676}"
)

Section = tuple[str, tuple[tuple[str, str], ...]]  # title, and label and text of each entry


def card_sections(manifest: ModelManifest, identity: ReleaseIdentity, card: ModelCard) -> tuple[Section, ...]:
    """Return every section in order: what the release is, ONC's nine groups with their 31 attributes, then CHAI's sections."""
    by_group: dict[str, list[tuple[str, str]]] = {group: [] for group in ONC_GROUPS}
    for group, name, text in source_attributes(card):
        by_group[group].append((_label(name), text))
    onc = tuple((f"{place}. {TITLES[group]}", tuple(by_group[group])) for place, group in enumerate(ONC_GROUPS, start=1))
    return (("Release", _release(manifest, identity)), *onc, *_chai_sections(manifest, card))


def _release(manifest: ModelManifest, identity: ReleaseIdentity) -> tuple[tuple[str, str], ...]:
    return (
        ("Name and version", f"{manifest.name} {manifest.version}"),
        ("Developer", manifest.publisher),
        ("Kind", manifest.dsi_class),
        ("Inputs", ", ".join(f"{spec.name} ({spec.unit})" for spec in manifest.inputs)),
        ("Outputs", ", ".join(output.title for output in manifest.outputs if not output.detail)),
        ("Limitations", " ".join(manifest.limitations) or "none stated"),
        ("Licence", manifest.licence),
        ("Citation", manifest.citation + (f", DOI {manifest.doi}" if manifest.doi else "")),
        ("SHA-256 of the graph", identity.graph_sha256),
        ("SHA-256 of the manifest", identity.manifest_sha256),
    )


def _chai_sections(manifest: ModelManifest, card: ModelCard) -> Iterator[Section]:
    """CHAI Applied Model Card v0.2, section by section, with what ONC's attributes and the manifest already say in its place."""
    said = {"manifest": manifest, **msgspec.structs.asdict(card)}
    for title, entries in CHAI_SECTIONS.items():
        yield f"CHAI: {title}", tuple((label, getattr(said[group], name)) for label, group, name in entries)


def card_markdown(manifest: ModelManifest, identity: ReleaseIdentity, card: ModelCard) -> str:
    """Return the card in Markdown."""
    lines = [f"# {manifest.title}", "", manifest.intended_use]
    for title, entries in card_sections(manifest, identity, card):
        lines += ["", f"## {title}", ""]
        lines += [f"- **{label}**: {text}" for label, text in entries]
    return "\n".join(lines) + "\n"


def card_html(manifest: ModelManifest, identity: ReleaseIdentity, card: ModelCard) -> str:
    """Return the card as a page of its own; every text is escaped."""
    body = [f"<h1>{html.escape(manifest.title)}</h1>", f"<p>{html.escape(manifest.intended_use)}</p>"]
    for title, entries in card_sections(manifest, identity, card):
        body.append(f"<h2>{html.escape(title)}</h2>\n<dl>")
        body += [f"<dt>{html.escape(label)}</dt>\n<dd{_dimmed(text)}>{html.escape(text)}</dd>" for label, text in entries]
        body.append("</dl>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(manifest.title)}</title>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{STYLE}</style></head>\n<body>\n' + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _dimmed(text: str) -> str:
    return ' class="na"' if text == "not available" else ""


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
