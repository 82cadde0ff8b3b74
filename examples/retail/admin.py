"""Sales in the admin: to look at. What is to be changed, is changed in MongoDB."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from examples.retail.models import Sale
from sync.web.admin import ReadsExactly


@admin.register(Sale)
class SaleAdmin(ReadsExactly):
    list_display = ("saleDate", "storeLocation", "purchaseMethod", "couponUsed", "email", "total")
    list_filter = ("storeLocation", "purchaseMethod", "couponUsed", "saleDate")
    search_fields = ("storeLocation", "customer__email", "=id")
    list_per_page = 50
    show_full_result_count = False

    @admin.display(description="customer")
    def email(self, sale: Sale) -> str:
        return sale.customer.get("email", "") if isinstance(sale.customer, dict) else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
