"""Features: from a record to the inputs a manifest declares, and from manifests to what must be fetched.

    extract_inputs(manifest, Chart(RecordIndex(record, terminology, as_of), setting, site, outputs))  -> {name: InputValue}
    compile_plan(manifests, terminology)                                                                    -> FetchPlan
    manifest_problems(manifest, terminology)                                                                -> () when sound

One operator per kind of feature: patient (age, sex), measured (newest, pair, mean, quotient), category, findings (conditions),
medications, derived (another model's output, first of several). What a found number is worth is judged in `quality`.
"""
