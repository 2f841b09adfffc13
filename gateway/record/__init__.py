"""From FHIR resources as they are to a PatientRecord: lenient, element by element; whatever is dropped is listed."""
