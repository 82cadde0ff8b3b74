"""The financial records in the admin."""

from __future__ import annotations

import datetime
import re
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property, lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from audit.admin import Audited
from finance.filters import INT32
from finance.models import Customer, Record, Transaction
from finance.record_types import RECORD_TYPES
from finance.searching import matching
from sync.core import humanize
from sync.core.humanize import grouped
from sync.mapping.forms import DocumentFormField
from sync.models import DocumentField
from sync.web.admin import ReadsExactly

OBJECT_ID = re.compile("[0-9a-f]{24}")
MOST = 1000  # rows that a list has pages for; search finds the others
UNTIL = format_lazy(_("The list ends after {most} rows. Search to find others."), most=lazy(grouped, str)(MOST))


class FirstPages(Paginator):
    """Pages of the first MOST rows, so that neither the count nor a page costs more in a large table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows.order_by()[:MOST].count()


class RecordAdmin(ReadsExactly, Audited):
    """Shows `_id` and the document's further fields read-only."""

    readonly_fields = ("id", "other_fields")
    formfield_overrides: ClassVar[Any] = {DocumentField: {"widget": forms.Textarea(attrs={"rows": 12, "cols": 100})}}
    list_per_page = 50
    show_full_result_count = False
    paginator = FirstPages
    search_fields = ("pk",)  # required for a search; get_search_results() decides what is searched

    def __init__(self, model: type[Record], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        self.kind = next(kind for kind in RECORD_TYPES if kind.model is model)
        order = self.kind.order()  # in one direction, as in the index
        self.ordering = [("-" if order.descending else "") + name for name in order.fields]  # type: ignore[misc]
        self.first = model._meta.get_field(self.kind.columns[0])
        by_first = format_lazy(_("Search by {name} or _id."), name=getattr(self.first, "verbose_name", ""))
        self.search_help_text = format_lazy("{} {}", self.search_help_text or by_first, UNTIL)  # type: ignore[misc]

    def get_list_display(self, request: HttpRequest) -> Any:
        return [*map(self.column, self.kind.columns), "id"]

    def column(self, name: str) -> Any:
        """The field's name, or a function: a document is shown as JSON, a moment as its day."""
        field: Any = self.model._meta.get_field(name)
        if isinstance(field, models.DateTimeField):
            return self.day(field)
        if not isinstance(field, DocumentField):
            return name

        @admin.display(description=field.verbose_name)
        def document(record: Record) -> str:
            return DocumentFormField().prepare_value(getattr(record, name))

        return document

    def day(self, field: models.DateTimeField) -> Any:
        @admin.display(description=field.verbose_name, ordering=field.name)
        def day(record: Record) -> Any:
            value = getattr(record, field.name)
            return humanize.day(value) if isinstance(value, datetime.datetime) else value

        return day

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """Compares indexed columns for equality; the admin's own search would compare numbers as text, row by row."""
        text = search_term.strip()
        return (queryset.filter(self.matching(text)) if text else queryset), False

    def matching(self, text: str) -> Q:
        """The records with this `_id`, or whose first column is this number or starts with this text."""
        if isinstance(self.first, models.IntegerField):
            is_number = text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= INT32["max_value"]
            return Q((self.first.name, text)) if is_number else Q(pk=text)
        return Q(pk=text) if OBJECT_ID.fullmatch(text) else self.beginning(text)

    def beginning(self, text: str) -> Q:
        return Q((f"{self.first.name}__istartswith", text))

    @admin.display(description=_("extra"))
    def other_fields(self, record: Record) -> str:
        return DocumentFormField().prepare_value(record.extra)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Refuses an action on "all" rows if the page does not show their number."""
        if request.POST.get("select_across") == "1" and queryset.order_by()[MOST : MOST + 1].exists():
            problem = _("More than %(most)s rows are selected. Narrow the search, or select rows page by page.")
            self.message_user(request, problem % {"most": grouped(MOST)}, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **kwargs)


class SelectByKey(AutocompleteSelect):
    """Django's own fails if the submitted value is not a key."""

    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        keys = [key for key in value if re.fullmatch("[0-9]{1,18}", str(key))]
        return super().optgroups(name, keys, attrs)


@admin.register(Customer)
class CustomerAdmin(RecordAdmin):
    list_select_related = ("user",)
    list_filter = ("active", ("user", admin.EmptyFieldListFilter))
    autocomplete_fields = ("user",)
    search_help_text = _("Search by the start of any word of a name, of a username or email address, or by _id.")

    def get_list_display(self, request: HttpRequest) -> Any:
        return ("name", "username", "email", "active", "user")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_foreignkey(
            db_field, request, **{"widget": SelectByKey(db_field, self.admin_site)} | kwargs
        )

    def beginning(self, text: str) -> Q:
        return matching(text)


@admin.register(Transaction)
class TransactionAdmin(RecordAdmin):
    list_filter = ("bucket_end_date",)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        records = super().get_queryset(request)
        match = request.resolver_match
        return (
            records.defer("transactions", "extra") if match and str(match.url_name).endswith("changelist") else records
        )


for kind in RECORD_TYPES:
    if not admin.site.is_registered(kind.model):
        admin.site.register(kind.model, RecordAdmin)
