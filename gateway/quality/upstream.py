"""One model's answer as another model's input: the number with its lineage, or the reason why there is none (rules 4, eGFR)."""

from collections.abc import Mapping

from gateway.features.manifest import ModelManifest
from gateway.features.outcome import CODE_OF_STATE
from gateway.features.value import InputState, InputValue
from gateway.quality.report import QualityReport
from gateway.record.reason import NOT_APPLICABLE_CODES, Reason, ReasonCode

_STATE_OF_CODE = {code: state for state, code in CODE_OF_STATE.items()}
_FAILED = "the model could not be run"


def output_as_input(
    manifest: ModelManifest,
    report: QualityReport,
    output: str,
    value: float | None,
    lineage: Mapping[str, str],
) -> InputValue:
    """Return an output as it enters another model: unrounded, with the evidence, oldest time and cautions of the inputs it rests on.

    Withheld for the patient's sake (not applicable, an exclusion that holds or cannot be judged, an unsteady creatinine): WITHHELD, with
    the reasons as they are. Withheld for lack of good data: the state and code of the first bad input. `value` is None when the graph
    did not run or its result was not believed: RUNTIME_FAILURE, which says nothing about the patient.
    """
    spec = next(spec for spec in manifest.outputs if spec.name == output)
    used = [report.inputs[name] for name in spec.needs]
    times = [item.time for item in used if item.time is not None]
    evidence = tuple(dict.fromkeys(proof for item in used if item.time is not None for proof in item.evidence))
    state, reasons = _state(manifest, report, output, value)
    return InputValue(
        name=output,
        concept=output,
        state=state,
        value=value if state is InputState.VALID else None,
        unit=spec.unit,
        time=min(times, default=None),
        text=f"computed by {manifest.title}" if state is InputState.VALID else "",
        evidence=evidence,
        reasons=reasons,
        lineage=lineage,
    )


def _state(manifest: ModelManifest, report: QualityReport, output: str, value: float | None) -> tuple[InputState, tuple[Reason, ...]]:
    reasons = report.withheld.get(output, ())
    failure = next((reason for reason in reasons if reason.code is ReasonCode.RUNTIME_FAILURE), None)
    if failure is not None or (output in report.available and value is None):
        return InputState.MISSING, (failure or Reason(ReasonCode.RUNTIME_FAILURE, manifest.name, _FAILED),)
    if output in report.available:
        return InputState.VALID, tuple(reason for reason in report.reasons if not reason.withholds)
    about_patient = tuple(reason for reason in reasons if _is_about_patient(manifest, report, reason))
    if about_patient or not reasons:
        return InputState.WITHHELD, about_patient or (Reason(ReasonCode.MISSING_INPUT, output, f"{manifest.name} has no such output here"),)
    return _STATE_OF_CODE.get(reasons[0].code, InputState.MISSING), (_named(reasons[0]),)


def _is_about_patient(manifest: ModelManifest, report: QualityReport, reason: Reason) -> bool:
    """Tell whether a reason says something about the patient rather than about the data of one input.

    An exclusion whose search could not be read is about the data: it is told as not fetched, which opens no fallback either.
    """
    if reason.code in NOT_APPLICABLE_CODES:
        return True
    for exclusion in manifest.eligibility.exclusions:
        if reason.code == exclusion.reason or reason in report.inputs[exclusion.name].reasons:
            return reason.code not in (ReasonCode.NOT_FETCHED, ReasonCode.NOT_ALLOWED)
    return False


def _named(reason: Reason) -> Reason:
    """Keep the upstream reason in words, for the input that gets another name."""
    return Reason(reason.code, reason.subject, f"{reason}: {reason.detail}" if reason.detail else str(reason))
