"""The financial records in the admin. Here, and only here, staff link a customer to the user who may see it."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from audit.admin import Audited
from finance.filters import INT32, begins_with
from finance.models import Account, Customer, Record, Transaction
from sync.mapping.forms import DocumentFormField
from sync.models import DocumentField
from sync.web.admin import ReadsExactly

OBJECT_ID = re.compile("[0-9a-f]{24}")
MOST = 1000  # rows that a list has pages for; a search finds the others
UNTIL = format_lazy(_("The list ends after {most} rows: search for others."), most=f"{MOST:,}")


class FirstPages(Paginator):
    """Pages of the first MOST rows: neither a count nor a page then costs more, however many there are."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows.order_by()[:MOST].count()


class RecordAdmin(ReadsExactly, Audited):
    """`_id` and the fields that came with the document are shown, and stay as they are."""

    readonly_fields = ("id", "other_fields")
    formfield_overrides: ClassVar[Any] = {DocumentField: {"widget": forms.Textarea(attrs={"rows": 12, "cols": 100})}}
    list_per_page = 50
    show_full_result_count = False
    paginator = FirstPages
    search_fields = ("pk",)  # so that there is a search: get_search_results() says of what
    search_help_text: ClassVar[Any] = format_lazy("{} {}", _("By account number or _id."), UNTIL)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """By equality with what has an index, where the admin's own would compare numbers as text, row by row."""
        text = search_term.strip()
        return (queryset.filter(self.matching(text)) if text else queryset), False

    def matching(self, text: str) -> Q:
        is_number = text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= INT32["max_value"]
        return Q(account_id=text) if is_number else Q(pk=text)

    @admin.display(description=_("extra"))
    def other_fields(self, record: Record) -> str:
        return DocumentFormField().prepare_value(record.extra)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Nothing is done to "all" rows where the page does not say how many they are."""
        if request.POST.get("select_across") == "1" and queryset.order_by()[MOST : MOST + 1].exists():
            problem = _("These are more than %(most)s rows. Narrow the search, or select them page by page.")
            self.message_user(request, problem % {"most": f"{MOST:,}"}, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **kwargs)


@admin.register(Account)
class AccountAdmin(RecordAdmin):
    list_display = ("account_id", "limit", "products_held", "id")
    ordering = ("account_id", "pk")  # in one direction, as the index has them

    @admin.display(description=_("products"))
    def products_held(self, account: Account) -> str:
        return DocumentFormField().prepare_value(account.products)


class SelectByKey(AutocompleteSelect):
    """Django's looks for whatever was sent, and fails where that is no key."""

    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        keys = [key for key in value if re.fullmatch("[0-9]{1,18}", str(key))]
        return super().optgroups(name, keys, attrs)


@admin.register(Customer)
class CustomerAdmin(RecordAdmin):
    list_display = ("name", "username", "email", "active", "user")
    list_select_related = ("user",)
    list_filter = ("active", ("user", admin.EmptyFieldListFilter))
    autocomplete_fields = ("user",)
    ordering = ("name", "pk")
    search_help_text = format_lazy("{} {}", _("How a name, username or email begins, or an _id."), UNTIL)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_foreignkey(
            db_field, request, **{"widget": SelectByKey(db_field, self.admin_site)} | kwargs
        )

    def matching(self, text: str) -> Q:
        return Q(pk=text) if OBJECT_ID.fullmatch(text) else begins_with(text)


@admin.register(Transaction)
class TransactionAdmin(RecordAdmin):
    list_display = ("account_id", "transaction_count", "bucket_start_date", "bucket_end_date", "id")
    list_filter = ("bucket_end_date",)
    ordering = ("-bucket_end_date", "-pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        records = super().get_queryset(request)
        match = request.resolver_match
        return (
            records.defer("transactions", "extra") if match and str(match.url_name).endswith("changelist") else records
        )
