"""Speaks to FHIR servers: what to fetch, how it arrived, and in which state each group of the record is."""
