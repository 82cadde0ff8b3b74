"""The shop in the admin: lines are edited inside their order, tags and category with their product."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from audit.admin import Audited
from examples.shop.models import Buyer, Category, Line, Order, Product, Tag


class LineInline(admin.TabularInline):
    model = Line
    extra = 1
    raw_id_fields = ("product",)


@admin.register(Order)
class OrderAdmin(Audited):
    list_display = ("id", "buyer", "placed_at", "status", "total")
    list_filter = ("status", "placed_at")
    list_select_related = ("buyer",)
    search_fields = ("=id", "buyer__name", "buyer__email", "lines__product__name")
    ordering = ("-placed_at", "-id")
    raw_id_fields = ("buyer",)
    inlines = (LineInline,)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("lines")

    @admin.display(description=_("total"))
    def total(self, order: Order) -> Decimal:
        return order.total


@admin.register(Product)
class ProductAdmin(Audited):
    list_display = ("name", "category", "price")
    list_filter = ("category", "tags")
    list_select_related = ("category",)
    search_fields = ("name", "category__name", "tags__name")
    ordering = ("name",)
    filter_horizontal = ("tags",)


@admin.register(Buyer)
class BuyerAdmin(Audited):
    list_display = ("name", "email")
    search_fields = ("name", "email")
    ordering = ("name",)


@admin.register(Category, Tag)
class NamedAdmin(Audited):
    list_display = ("name",)
    search_fields = ("name",)
    ordering = ("name",)
