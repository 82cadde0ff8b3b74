"""Sales, whose main database is MongoDB. The rows here follow it: `manage.py sync pull sale`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Self

from bson import Decimal128
from django.db import models

from sync.mapping.documents import MappingError
from sync.models import DocumentField, ObjectIdField, PulledModel, Source

CENTS = Decimal("0.0001")


class Sale(PulledModel):
    """One purchase. The names are those of the data."""

    id = ObjectIdField(primary_key=True, db_column="_id")
    saleDate = models.DateTimeField("date")
    items = DocumentField(default=list, blank=True, help_text="name, tags, price (Decimal128) and quantity of each.")
    storeLocation = models.CharField("store", max_length=100)
    customer = DocumentField(default=dict, blank=True, help_text="gender, age, email, satisfaction.")
    couponUsed = models.BooleanField("coupon used")
    purchaseMethod = models.CharField("method", max_length=50)
    total = models.DecimalField(max_digits=20, decimal_places=4, help_text="Of all items; computed when it is pulled.")
    extra = DocumentField(default=dict, blank=True, help_text="What the document has besides.")

    source = Source("sales", exclude=("total",), extra="extra")

    class Meta(PulledModel.Meta):
        ordering = ["-saleDate"]
        indexes = [models.Index(fields=["storeLocation", "saleDate"], name="retail_sale_store_date")]

    def __str__(self) -> str:
        return f"{self.storeLocation}, {self.saleDate:%Y-%m-%d %H:%M}"

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        sale = super().from_document(document)
        sale.total = total(sale.items)
        return sale


def total(items: Any) -> Decimal:
    """What all items cost, exactly. Raises MappingError where that is not known, or does not fit its column."""
    if not isinstance(items, list):
        raise MappingError("items: not an array")
    amount = sum((_cost(number, item) for number, item in enumerate(items)), Decimal())
    if amount != amount.quantize(CENTS) or abs(amount) >= 10**16:
        raise MappingError(f"items: they cost {amount}, which has more digits than `total` holds")
    return amount


def _cost(number: int, item: Any) -> Decimal:
    price, quantity = (item.get("price"), item.get("quantity")) if isinstance(item, dict) else (None, None)
    cost = price.to_decimal() if isinstance(price, Decimal128) else None
    if cost is None or not cost.is_finite():
        raise MappingError(f"items.{number}.price: not a decimal number")
    if not isinstance(quantity, int) or isinstance(quantity, bool):
        raise MappingError(f"items.{number}.quantity: not a whole number")
    return cost * quantity
