"""From FHIR resources as they are to a PatientRecord: lenient, element by element; whatever is dropped is listed.

fetched = read_bundle(raw, patient_id=None, declared_complete=True)   an inline Bundle or a file; a pull brings a FetchedRecord itself
record = build_record(fetched, terminology)                          everything that was said, with its source
record = hide_later(record, as_of)                                   as it was known at that time
"""

from gateway.record.as_of import hide_later
from gateway.record.build import build_record
from gateway.record.bundle import read_bundle

__all__ = ["build_record", "hide_later", "read_bundle"]
