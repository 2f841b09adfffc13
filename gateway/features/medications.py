"""Yes or no from current medication orders: "yes" when an ingredient is recognised, "no" only by the absence rule (rules 3)."""

import datetime as dt

from gateway.features.context import Chart, Target
from gateway.features.findings import LISTED_MAX, chart_not_in_use
from gateway.features.manifest import CurrentMedication
from gateway.features.outcome import Shown, concluded_absent, found, not_usable, unsearched_group, unseen_group
from gateway.features.value import Evidence, InputState, InputValue
from gateway.fhir.group import Group
from gateway.record.values import MedicationOrder


def current_medication(target: Target, feature: CurrentMedication, chart: Chart) -> InputValue:
    """Return 1 for a current order of the group.

    An active order that is older than the limit, or undated, is neither a "yes" nor a "no": the first is STALE, the second MISSING.
    Statements of what the patient takes count like orders. The data sheets name orders alone, so "no" may be concluded where nobody asked
    for statements, but not where they were asked for and did not arrive.
    A current order whose ingredients are not known makes "no" impossible: MISSING, with the orders listed.
    """
    since = chart.as_of - dt.timedelta(days=feature.authored_days_max)
    current: list[MedicationOrder] = []
    old: list[MedicationOrder] = []
    unknown: list[MedicationOrder] = []
    for order in chart.record.medications:
        if not _active_at(order, chart.as_of):
            continue
        dated = order.authored is not None
        recent = order.authored is not None and order.authored.at >= since
        if feature.group in order.groups:
            (current if recent else old if dated else unknown).append(order)
        elif not order.recognised and (recent or not dated):
            unknown.append(order)
    if current:
        return found(target, _shown(current, 1.0))
    if old:
        return not_usable(target, InputState.STALE, f"active order, but older than {feature.authored_days_max} days", _shown(old, 1.0))
    if unknown:
        return not_usable(target, InputState.MISSING, f"current orders not recognised: {_names(unknown)}", _shown(unknown, None))
    unsearched = unsearched_group(target, chart, Group.MEDICATIONS) or unseen_group(target, chart, Group.MEDICATION_STATEMENTS)
    return unsearched or chart_not_in_use(target, chart) or concluded_absent(target)


def _active_at(order: MedicationOrder, as_of: dt.datetime) -> bool:
    return order.active and (order.ended is None or order.ended.at > as_of)


def _names(orders: list[MedicationOrder]) -> str:
    names = sorted({order.text or "order without code or text" for order in orders})
    more = f" and {len(names) - LISTED_MAX} more" if len(names) > LISTED_MAX else ""
    return ", ".join(names[:LISTED_MAX]) + more


def _shown(orders: list[MedicationOrder], value: float | None) -> Shown:
    chosen = sorted(orders, key=lambda order: (order.source.resource_type, order.source.id))
    times = [order.authored.at for order in chosen if order.authored is not None]
    evidence = tuple(
        Evidence(source=order.source, raw_value=order.text, time=order.authored.at if order.authored is not None else None)
        for order in chosen
    )
    return Shown(value, min(times, default=None), _names(chosen), evidence)
