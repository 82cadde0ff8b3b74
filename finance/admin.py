"""The financial records in the admin. Here, and only here, staff link a customer to the user who may see it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from audit.admin import Audited
from finance.forms import DocumentFormField
from finance.models import Account, Customer, Transaction
from sync.fields import DocumentField


class RecordAdmin(Audited):
    """`_id` and the fields that came with the document are shown, and stay as they are."""

    readonly_fields = ("id", "extra")
    list_per_page = 50
    show_full_result_count = False

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if isinstance(db_field, DocumentField):
            kwargs |= {"form_class": DocumentFormField, "widget": forms.Textarea(attrs={"rows": 12, "cols": 100})}
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field, DocumentFormField):
            field.empty_value = db_field.get_default()
        return field


@admin.register(Account)
class AccountAdmin(RecordAdmin):
    list_display = ("account_id", "limit", "products", "id")
    search_fields = ("=account_id", "=id")
    ordering = ("account_id",)


@admin.register(Customer)
class CustomerAdmin(RecordAdmin):
    list_display = ("name", "username", "email", "active", "user")
    list_select_related = ("user",)
    list_filter = ("active", ("user", admin.EmptyFieldListFilter))
    search_fields = ("name", "username", "email", "=id")
    autocomplete_fields = ("user",)
    ordering = ("name",)


@admin.register(Transaction)
class TransactionAdmin(RecordAdmin):
    list_display = ("account_id", "transaction_count", "bucket_start_date", "bucket_end_date", "id")
    list_filter = ("bucket_end_date",)
    search_fields = ("=account_id", "=id")
    ordering = ("-bucket_end_date",)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        records = super().get_queryset(request)
        match = request.resolver_match
        return (
            records.defer("transactions", "extra") if match and str(match.url_name).endswith("changelist") else records
        )
