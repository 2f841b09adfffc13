"""The care setting of an assessment: it selects the age limits, and some models are not made for every one (rules 4)."""

import datetime as dt
from typing import cast

from gateway.features.manifest import ModelManifest, Setting
from gateway.features.stays import open_setting
from gateway.fhir.group import Group, GroupState
from gateway.quality.report import SettingSource
from gateway.record.values import PatientRecord

_SOURCE_WHERE_STAYS_ARE_UNSEEN = {
    GroupState.INCOMPLETE: SettingSource.NOT_FETCHED,
    GroupState.NOT_FETCHED: SettingSource.NOT_FETCHED,
    GroupState.NOT_ALLOWED: SettingSource.NOT_ALLOWED,
}


def care_setting(
    requested: Setting | None, record: PatientRecord, as_of: dt.datetime, manifest: ModelManifest
) -> tuple[Setting, SettingSource]:
    """Return the setting and how it became known: the request, else the Encounter open at the as-of time, else the manifest's default.

    Where the Encounters did not all arrive, that none is open is not known, and the source says so.
    """
    if requested is not None:
        return requested, SettingSource.REQUEST
    found = open_setting(record.stays, as_of)
    unseen = _SOURCE_WHERE_STAYS_ARE_UNSEEN.get(record.group_state(Group.ENCOUNTERS))
    if found is not None and (unseen is None or found != "ambulatory"):
        return cast("Setting", found), SettingSource.OPEN_ENCOUNTER
    return cast("Setting", found) if found else manifest.eligibility.default_setting, unseen or SettingSource.MANIFEST_DEFAULT
