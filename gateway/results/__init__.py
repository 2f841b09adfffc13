"""What was found, in the words of each reader: FHIR resources, CDS cards, plain lines. Pure; ids derive from the assessment's own."""
