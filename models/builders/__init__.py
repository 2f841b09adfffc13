"""Builds the shipped graphs from the published coefficient tables: `python -m models.builders`. Never imported by the gateway."""
