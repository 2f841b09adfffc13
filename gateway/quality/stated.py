"""Inputs that are stated instead of found in a record (vector files), graded and judged exactly like those of a record.

Names are the manifest's tensor names, so they carry their unit. `<name>_age_days` is the age of one input, `labs_age_days` and
`vitals_age_days` of all Observations of a group; `<tensor>_loinc` says which of several measured concepts a value is. The flags of
exclusions that are left out mean "searched and not found"; everything else that is left out is a missing input, the finding that makes
someone eligible among them. A fallback's own input that the site may state counts as stated by the site: a vector file holds no settings.
"""

import datetime as dt
import math
from collections.abc import Mapping
from typing import cast

import msgspec

from gateway.features.context import Target
from gateway.features.derived import site_number
from gateway.features.extract import age_limit, concepts_of
from gateway.features.manifest import (
    Choice,
    CodedCategory,
    ConditionPresent,
    CurrentMedication,
    Exclusion,
    Finding,
    FirstOf,
    InputSpec,
    ModelManifest,
    Newest,
    NotRecorded,
    ProcedureInStay,
    ProceduresCounted,
    Setting,
    SexAtAsOf,
    SimpleFeature,
    SiteSetting,
    Threshold,
    UrgentStay,
)
from gateway.features.outcome import LOINC, Shown, concluded_absent, found, not_usable, withheld_for
from gateway.features.patient import resolve_sex, sex_value
from gateway.features.value import InputState, InputValue
from gateway.fhir.group import Group
from gateway.quality.judge import judge
from gateway.quality.report import QualityReport, SettingSource
from gateway.quality.together import state_span
from gateway.record.reason import Reason, ReasonCode
from gateway.record.values import PatientFacts, SourceRef
from gateway.terminology import Terminology

AS_OF = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)  # any instant: only differences matter
GROUP_NAMES = {Group.LABORATORY: "labs", Group.VITAL_SIGNS: "vitals"}
# Known to the vector files; a manifest that does not declare them does not look at them.
EXCLUSION_FLAGS = ("pregnancy", "prior_cvd", "kidney_replacement", "aki", "on_vka", "hypercapnic_target_documented")
_GENERAL_NAMES = frozenset({"labs_age_days", "vitals_age_days", "labs_span_days", "care_setting", "setting", "deceased_0_1", "region"})


class StatedResult(msgspec.Struct, frozen=True, kw_only=True):
    """A report in the form of the vector files."""

    status: str  # ok, partial, abstain
    codes: frozenset[str]
    labels: frozenset[str]
    fallbacks: tuple[str, ...]


def report_for_stated(manifest: ModelManifest, values: Mapping[str, object], terminology: Terminology) -> QualityReport:
    """Judge one set of stated inputs.

    Raises:
        ValueError: a name is not known to the manifest, or a number is not a number: such a row cannot be run.
    """
    unknown = set(values) - _known_names(manifest)
    if unknown:
        raise ValueError(f"names not known to this model: {', '.join(sorted(unknown))}")
    stated_setting = values.get("care_setting") or values.get("setting")
    setting = cast("Setting", stated_setting or manifest.eligibility.default_setting)
    source = SettingSource.REQUEST if stated_setting else SettingSource.MANIFEST_DEFAULT
    reader = _Reader(values, terminology, setting)
    inputs = {spec.name: reader.read(spec) for spec in manifest.inputs}
    inputs |= {spec.name: reader.read_for_fallback(spec) for fallback in manifest.fallbacks for spec in fallback.features}
    flags: tuple[Exclusion | Finding, ...] = (*manifest.eligibility.exclusions, *manifest.findings)
    inputs |= {flag.name: reader.flag(flag) for flag in flags}
    span_days = reader.number("labs_span_days")
    if span_days is not None:
        inputs.update(state_span(manifest, inputs, span_days, AS_OF))
    patient = PatientFacts(source=SourceRef("Patient", "stated"), deceased=bool(values.get("deceased_0_1")))
    return judge(manifest, inputs, patient, AS_OF, setting, source)


def stated_result(manifest: ModelManifest, report: QualityReport) -> StatedResult:
    """Return status, codes, the labels of which every output the model has at this age is available, and fallbacks."""
    available, withheld = set(report.available), set(report.withheld)
    labels = {output.label for output in manifest.outputs if output.name in available}
    labels |= {output.band_label for output in manifest.outputs if output.name in available}
    labels -= {output.label for output in manifest.outputs if output.name in withheld}
    labels -= {output.band_label for output in manifest.outputs if output.name in withheld}
    return StatedResult(
        status=report.vector_status,
        codes=frozenset(str(reason) for reason in report.reasons),
        labels=frozenset(labels - {""}),
        fallbacks=report.fallbacks,
    )


def as_variant(manifest: ModelManifest, report: QualityReport, name: str) -> StatedResult:
    """Return a report as an answer of the variant `name`: where its inputs are not all valid, another variant stands in for it.

    A name that is no variant's (the model's own) leaves the choice to the model.
    """
    found = stated_result(manifest, report)
    asked = next((variant for variant in manifest.variants if variant.name == name), None)
    bad = {one for names in asked.when for one in names if not report.inputs[one].usable} if asked is not None else set()
    if not bad:
        return found
    codes = {str(reason) for one in bad for reason in report.inputs[one].reasons}
    stands_in = (report.variant,) if report.available and report.variant else ()
    return msgspec.structs.replace(
        found, status="abstain", codes=found.codes | codes, labels=frozenset(), fallbacks=(*stands_in, *found.fallbacks)
    )


def _known_names(manifest: ModelManifest) -> set[str]:
    specs = [*manifest.inputs, *(spec for fallback in manifest.fallbacks for spec in fallback.features)]
    declared: tuple[Exclusion | Finding, ...] = (*manifest.eligibility.exclusions, *manifest.findings)
    flags = {*EXCLUSION_FLAGS, *(flag.name for flag in declared)}
    names = {spec.tensor for spec in specs} | {f"{spec.tensor}_loinc" for spec in specs} | {f"{flag}_0_1" for flag in flags}
    return names | {f"{spec.name}_age_days" for spec in specs} | _GENERAL_NAMES


class _Reader:
    """Reads one row: the same plausibility, limits and states as a record gives."""

    def __init__(self, values: Mapping[str, object], terminology: Terminology, setting: Setting) -> None:
        self._values = values
        self._terminology = terminology
        self._setting = setting

    def read(self, spec: InputSpec) -> InputValue:
        """Return one stated input."""
        target = Target(spec.name, spec.concept, spec.unit, age_limit(spec, self._setting, self._terminology))
        if isinstance(spec.feature, SexAtAsOf):
            gender = self._values.get(spec.tensor)
            patient = PatientFacts(source=SourceRef("Patient", "stated"), gender=str(gender) if gender else None)
            return sex_value(target, spec.feature, resolve_sex(patient, spec.name))
        if isinstance(spec.feature, SiteSetting):
            return self._setting_of_site(spec, target, spec.feature)
        number = self._stated_number(spec)
        if number is None or (number == 0.0 and isinstance(spec.feature, NotRecorded) and spec.unit == "1"):  # stated as not documented
            return not_usable(target, InputState.MISSING, "not stated")
        age_days, aged_as = self._age(spec)
        time = AS_OF - dt.timedelta(days=age_days) if age_days is not None else None
        if not self._is_plausible(spec, number):
            return not_usable(target, InputState.IMPLAUSIBLE, "", Shown(number, time))
        caution = self._option_caution(spec)
        if caution is None:
            return not_usable(target, InputState.MISSING, "not one of the concepts that may be used", Shown(number, time))
        reasons = (Reason(ReasonCode.CAUTION, caution),) if caution else ()
        return msgspec.structs.replace(found(target, Shown(number, time), reasons), aged_as=aged_as)

    def _setting_of_site(self, spec: InputSpec, target: Target, feature: SiteSetting) -> InputValue:
        """Return a site setting as if the site had stated it."""
        stated = self._values.get(spec.tensor)
        value = site_number(feature, stated if isinstance(stated, float | int | str) else None)
        if value is None:
            return withheld_for(target, InputState.MISSING, Reason(ReasonCode.CONFIG_MISSING, spec.name))
        return found(target, Shown(value, text=str(stated)))

    def read_for_fallback(self, spec: InputSpec) -> InputValue:
        """Return an input of a fallback; one that the site may state, and the row does not, counts as stated."""
        value = self.read(spec)
        options = spec.feature.options if isinstance(spec.feature, Choice) else (spec.feature,)
        if spec.tensor in self._values or not any(isinstance(option, SiteSetting) for option in options):
            return value
        return found(Target(spec.name, spec.concept, spec.unit), Shown(1.0, text="left to the site"))

    def flag(self, flag: Exclusion | Finding) -> InputValue:
        """Return a stated exclusion or finding; left out, it was searched and not found. What makes eligible must be stated."""
        target = Target(flag.name, flag.feature.group, "1")
        number = self.number(f"{flag.name}_0_1")
        if number is None and isinstance(flag, Exclusion) and flag.when == "absent":
            return not_usable(target, InputState.MISSING, "not stated")
        if not number:
            return concluded_absent(target)
        if number != 1.0:
            return withheld_for(target, InputState.IMPLAUSIBLE, Reason(ReasonCode.IMPLAUSIBLE_VALUE, target.name))
        return found(target, Shown(number))

    def _stated_number(self, spec: InputSpec) -> float | None:
        """Return an input's number, or that of the word it is stated by."""
        value = self._values.get(spec.tensor)
        return spec.words[value] if isinstance(value, str) and value in spec.words else self.number(spec.tensor)

    def number(self, name: str) -> float | None:
        """Return a stated number, None where none is stated.

        Raises:
            ValueError: something else than a number is stated.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number")  # noqa: TRY004 - a row that cannot be run, not a programming error
        return float(value) if math.isfinite(value) else None

    def _age(self, spec: InputSpec) -> tuple[float | None, str]:
        """Return the age in days and, where it was stated for the whole group, the group's name."""
        own = self.number(f"{spec.name}_age_days")
        if own is not None:
            return own, ""
        for concept in concepts_of(spec.feature)[:1]:
            group = GROUP_NAMES.get(self._terminology.concept(concept).group, "")
            age = self.number(f"{group}_age_days") if group else None
            if age is not None:
                return age, group
        return None, ""

    def _is_plausible(self, spec: InputSpec, number: float) -> bool:
        if isinstance(spec.feature, ConditionPresent | CurrentMedication | ProceduresCounted | ProcedureInStay | UrgentStay):
            return number in (0.0, 1.0)
        options = spec.feature.options if isinstance(spec.feature, Choice) else (spec.feature,)
        categories = [_categories(option) for option in options]
        if all(categories):
            return any(number in numbers for numbers in categories)
        names = [name for name in (spec.concept, *concepts_of(spec.feature)) if name in self._terminology.concepts]
        return not names or self._terminology.concept(names[0]).plausible(number)

    def _option_caution(self, spec: InputSpec) -> str | None:
        """Return the caution of the option a stated code selects, "" for none, None where no option may be used."""
        feature = spec.feature
        if not isinstance(feature, FirstOf) or not all(isinstance(option, Newest) for option in feature.options):
            return ""
        code = str(self._values.get(f"{spec.tensor}_loinc", ""))
        concepts = self._terminology.concepts_of(LOINC, code)
        for place, option in enumerate(feature.options):
            if isinstance(option, Newest) and option.concept in concepts:
                return feature.cautions[place] if place < len(feature.cautions) else ""
        return None


def _categories(feature: SimpleFeature) -> frozenset[float]:
    """Return the only numbers that an operator can give, empty where it measures."""
    if isinstance(feature, CodedCategory):
        return frozenset(feature.values.values())
    return frozenset({0.0, 1.0}) if isinstance(feature, Threshold) else frozenset()
