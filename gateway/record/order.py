"""MedicationRequests and MedicationStatements become orders, with the ingredients of their product.

The product stands in the order, in a contained Medication, or in one that came with the record. An order whose status is unknown may be
current or not: it proves neither, so it is kept as a current one that nobody recognises. The same holds for one that cannot be used.
"""

from collections.abc import Mapping

import msgspec

from gateway.record.decode import decode_resource, resource_type
from gateway.record.drop import DropReason
from gateway.record.problem import latest
from gateway.record.received import Reading, source_of, text_of
from gateway.record.resource import Medication, MedicationRequest, MedicationStatement
from gateway.record.values import Code, FhirTime, MedicationOrder, SourceRef

Order = MedicationRequest | MedicationStatement

ACTIVE = "active"
NEVER_TRUE = "entered-in-error"
STATUS_UNKNOWN = "unknown"
NOT_AN_ORDER = frozenset({"proposal", "option"})  # `plan` is one: US Core uses it for what patients take of their own accord


class Product(msgspec.Struct, frozen=True):
    """What a product is called; `known` is False where a part of it could not be found or read."""

    codes: tuple[Code, ...]
    text: str
    known: bool = True


def read_order(
    reading: Reading, order: Order, resource_id: str, raw: bytes, *, medications: Mapping[str, Medication]
) -> MedicationOrder | None:
    """Return the order, or None when it is another patient's, never true, or says not to take it. `medications`: by `Medication/id`."""
    source = source_of(order, resource_id, raw)
    before = len(reading.drops)
    if not reading.may_use(order, order.subject, resource_id):
        foreign = any(entry.reason == DropReason.OTHER_PATIENT for entry in reading.drops[before:])
        return None if foreign else unreadable_order(source)
    if order.status == NEVER_TRUE:
        reading.drop(order.resource_type, resource_id, DropReason.STATUS, NEVER_TRUE)
        return None
    if isinstance(order, MedicationRequest) and order.do_not_perform:
        reading.drop(order.resource_type, resource_id, DropReason.DO_NOT_PERFORM)
        return None
    return _build_order(reading, order, source, _product(reading, order, medications))


def _build_order(reading: Reading, order: Order, source: SourceRef, product: Product) -> MedicationOrder:
    facts = reading.terminology.medication(product.codes, product.text)
    status = order.status or STATUS_UNKNOWN
    unclear = status == STATUS_UNKNOWN and bool(facts.groups)
    proposed = isinstance(order, MedicationRequest) and order.intent in NOT_AN_ORDER
    authored, ended = _times(reading, order, source.id)
    return MedicationOrder(
        source=source,
        codes=product.codes,
        text=product.text or next((code.display for code in product.codes if code.display), ""),
        ingredients=facts.ingredients,
        groups=frozenset() if unclear else facts.groups,
        recognised=facts.recognised and product.known and not unclear,
        active=status in (ACTIVE, STATUS_UNKNOWN) and not proposed,
        status=status,
        authored=authored,
        ended=ended,
    )


def unreadable_order(source: SourceRef) -> MedicationOrder:
    """Return the order that could hold anything: see the module."""
    return MedicationOrder(
        source=source,
        codes=(),
        text="",
        ingredients=(),
        groups=frozenset(),
        recognised=False,
        active=True,
        status=STATUS_UNKNOWN,
    )


def _times(reading: Reading, order: Order, resource_id: str) -> tuple[FhirTime | None, FhirTime | None]:
    """Return (written or last said to be taken, ended)."""
    if isinstance(order, MedicationRequest):
        return reading.time(order, resource_id, "authoredOn", order.authored_on), None
    asserted = reading.time(order, resource_id, "dateAsserted", order.date_asserted)
    period = order.effective_period
    start = reading.time(order, resource_id, "effective", order.effective_date_time or (period.start if period is not None else None))
    end = reading.time(order, resource_id, "effectivePeriod.end", period.end) if period is not None else None
    return latest(asserted, start), end


def _product(reading: Reading, order: Order, medications: Mapping[str, Medication]) -> Product:
    concept, reference = order.medication_codeable_concept, order.medication_reference
    if concept is not None or reference is None:
        return Product(reading.codes(concept), text_of(concept))
    target = reference.reference or ""
    medication = _contained(order, target[1:]) if target.startswith("#") else medications.get(reading.identity.resolve(target) or "")
    if medication is None:
        return Product((), reference.display or "")
    return _medication_product(reading, medication, reference.display or "")


def _contained(order: Order, local_id: str) -> Medication | None:
    for raw in order.contained:
        if resource_type(bytes(raw)) == "Medication":
            found = decode_resource(bytes(raw), "Medication").resource
            if isinstance(found, Medication) and found.id == local_id:
                return found
    return None


def _medication_product(reading: Reading, medication: Medication, display: str) -> Product:
    """Return codes and names of a Medication and of its ingredients; one with a modifier is not believed."""
    if medication.modifier_extension or medication.implicit_rules:
        return Product((), display, known=False)
    items = [ingredient.item_codeable_concept for ingredient in medication.ingredient]
    names = [name for name in (text_of(medication.code), *(text_of(item) for item in items)) if name]
    codes = (*reading.codes(medication.code), *(code for item in items for code in reading.codes(item)))
    return Product(codes, " / ".join(names) or display, known=all(item is not None for item in items))
