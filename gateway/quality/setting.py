"""The care setting of an assessment: it selects the age limits, and some models are not made for every one (rules 4)."""

import datetime as dt
from typing import cast

from gateway.features.manifest import ModelManifest, Setting
from gateway.features.stays import open_setting
from gateway.quality.report import SettingSource
from gateway.record.values import PatientRecord


def care_setting(
    requested: Setting | None, record: PatientRecord, as_of: dt.datetime, manifest: ModelManifest
) -> tuple[Setting, SettingSource]:
    """Return the setting and how it became known: the request, else the Encounter open at the as-of time, else the manifest's default."""
    if requested is not None:
        return requested, SettingSource.REQUEST
    found = open_setting(record.stays, as_of)
    if found is not None:
        return cast("Setting", found), SettingSource.OPEN_ENCOUNTER
    return manifest.eligibility.default_setting, SettingSource.MANIFEST_DEFAULT
