"""Clinical inference gateway: a FHIR record in, an audited and explained risk assessment out."""

__version__ = "0.1.0"
