"""Quality: is what was found good enough for this model, output by output?

    care_setting(requested, record, as_of, manifest)                              -> (setting, how it became known)
    judge(manifest, inputs, patient, as_of, setting, setting_source)              -> QualityReport
    output_as_input(manifest, report, output, value, lineage)                     -> InputValue for another model
    report_for_stated(manifest, values, terminology), stated_result(...)          -> the same for stated inputs (vector files)

All of it is pure: no clock, no network, no model runtime.
"""
