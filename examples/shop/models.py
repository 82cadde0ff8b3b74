"""A shop in seven tables, and the two MongoDB collections made of them: one document per order, one per product.

docs/explanation/shop.md explains what is embedded, and what is only referred to.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from sync.models import Embedded, Ids, Many, Mirror, MirroredModel, One


class Category(Embedded):
    """What kind of product it is. Each product has one."""

    name = models.CharField(_("name"), max_length=100, unique=True)

    class Meta(Embedded.Meta):
        verbose_name = _("category")
        verbose_name_plural = _("categories")

    def __str__(self) -> str:
        return self.name


class Tag(Embedded):
    """A word that products are found by. A product has any number of them."""

    name = models.CharField(_("name"), max_length=50, unique=True)

    class Meta(Embedded.Meta):
        verbose_name = _("tag")
        verbose_name_plural = _("tags")

    def __str__(self) -> str:
        return self.name


class Product(MirroredModel):
    """What the shop sells, at its present price."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    price = models.DecimalField(_("price"), max_digits=10, decimal_places=2, validators=[MinValueValidator(0)])
    category = models.ForeignKey(Category, models.PROTECT, related_name="products", verbose_name=_("category"))
    tags = models.ManyToManyField(Tag, related_name="products", blank=True, verbose_name=_("tags"))

    mirror = Mirror(
        "products",
        embed=(
            One("category", "category", fields=("name",)),
            Many("tags", "tags", fields=("name",), order_by=("name",)),
            Ids("tags", "tag_ids"),
        ),
    )

    class Meta(MirroredModel.Meta):
        verbose_name = _("product")
        verbose_name_plural = _("products")
        constraints = [models.CheckConstraint(condition=models.Q(price__gte=0), name="shop_product_price_not_negative")]

    def __str__(self) -> str:
        return self.name


class Buyer(Embedded):
    """Who buys. Orders show the name; the email address stays in SQL."""

    name = models.CharField(_("name"), max_length=200)
    email = models.EmailField(_("email"), unique=True)

    class Meta(Embedded.Meta):
        verbose_name = _("buyer")
        verbose_name_plural = _("buyers")

    def __str__(self) -> str:
        return self.name


class Order(MirroredModel):
    """One purchase. Its document has everything that a page of the order shows."""

    class Status(models.TextChoices):
        PLACED = "placed", _("placed")
        SHIPPED = "shipped", _("shipped")
        CANCELLED = "cancelled", _("cancelled")

    lines: Any  # the other side of Line.order
    buyer = models.ForeignKey(Buyer, models.PROTECT, related_name="orders", verbose_name=_("buyer"))
    placed_at = models.DateTimeField(_("placed at"), default=timezone.now, db_default=Now())
    status = models.CharField(
        _("status"), max_length=10, choices=Status, default=Status.PLACED, db_default=Status.PLACED
    )
    ship_to = models.CharField(
        _("shipping address"), max_length=300, help_text=_("As it was when the order was placed.")
    )

    mirror = Mirror(
        "orders",
        embed=(
            One("buyer", "buyer", fields=("name",)),
            Many(
                "lines",
                "lines",
                fields=("quantity", "price", "product"),
                embed=(One("product", "product", fields=("name",)),),
            ),
        ),
    )

    class Meta(MirroredModel.Meta):
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        indexes = [models.Index(fields=["buyer", "-placed_at"], name="shop_order_of_buyer")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=["placed", "shipped", "cancelled"]), name="shop_order_status_is_known"
            )
        ]

    def __str__(self) -> str:
        return f"{self.pk}, {self.buyer}"

    @property
    def total(self) -> Decimal:
        """What its lines cost. Use `prefetch_related("lines")` for more than one order."""
        return sum((line.quantity * line.price for line in self.lines.all()), Decimal())


class Line(Embedded):
    """A product in an order. Its price is that of the day of the order, so a new price changes no old order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines", verbose_name=_("order"))
    product = models.ForeignKey(Product, models.PROTECT, related_name="lines", verbose_name=_("product"))
    quantity = models.PositiveIntegerField(_("quantity"), validators=[MinValueValidator(1)])
    price = models.DecimalField(
        _("price"), max_digits=10, decimal_places=2, validators=[MinValueValidator(0)], help_text=_("Of one piece.")
    )

    class Meta(Embedded.Meta):
        verbose_name = _("line")
        verbose_name_plural = _("lines")
        constraints = [
            models.UniqueConstraint(fields=["order", "product"], name="shop_line_product_once"),
            models.CheckConstraint(condition=models.Q(quantity__gte=1), name="shop_line_quantity_positive"),
            models.CheckConstraint(condition=models.Q(price__gte=0), name="shop_line_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} {self.product}"
