"""The declaration of a record type, from which its pages, CSV and admin follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

from django.http import HttpRequest
from django_filters import FilterSet

from finance.forms import RecordForm
from finance.models import Record
from finance.paging import Order
from finance.tables import RecordTable, order_of
from sync.models import DocumentField

PAGES = ("list", "export", "create", "detail", "edit", "delete")
Value = Callable[[Any], Any]


def fields(*names: str) -> dict[str, Value]:
    """CSV columns that hold a record's fields unchanged."""
    return {name: attrgetter(name) for name in names}


def nothing(request: HttpRequest, record: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, eq=False)
class RecordType:
    """A record type with a list, CSV, a page for each record, forms to add, edit and delete one, and an admin.

    table: its columns are also those of the CSV, a record's page, the delete confirmation and the admin's list. The
    first column names the record and needs an index, because the admin searches by it.
    form: names the fields that users can enter. Nothing else of a record can be set.
    own: whether customers have a list of their own records of this type. For others its pages do not exist.
    export: the CSV columns after `_id`, each with its value of a record; by default those of the table.
    related: what a record's page shows besides its fields: the context of templates/finance/<name>_detail.html.
    """

    model: type[Record]
    filters: type[FilterSet]
    table: type[RecordTable]
    form: type[RecordForm]
    own: bool = False
    export: Mapping[str, Value] = field(default_factory=dict)
    related: Callable[[HttpRequest, Any], dict[str, Any]] = nothing

    @cached_property
    def name(self) -> str:
        """The prefix of its URL names: `account`."""
        return str(self.model._meta.model_name)

    @cached_property
    def slug(self) -> str:
        """Its part of the URLs and the name of its CSV: `accounts`, the name of its collection."""
        return self.model.mirror.collection

    @cached_property
    def label(self) -> str:
        """Its label in the mirror: `finance.account`."""
        return self.model._meta.label_lower

    @cached_property
    def pages(self) -> dict[str, str]:
        """The URL name of each page."""
        return {
            page: f"finance:{self.name}_{page}" for page in ("list", "export", "create", "detail", "edit", "delete")
        }

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.table.base_columns)

    @cached_property
    def deferred(self) -> list[str]:
        """Document fields that neither the list nor the CSV shows. They can be long and are not read there."""
        documents = [each.name for each in self.model._meta.concrete_fields if isinstance(each, DocumentField)]
        return [name for name in documents if name not in self.columns]

    def order(self, asked: str = "") -> Order:
        """The order named `asked`, or the list's own if it names none."""
        return order_of(self.table, asked)

    @cached_property
    def header(self) -> list[str]:
        return ["_id", *self._exported]

    def row(self, record: Any) -> list[Any]:
        """The record's cells in the CSV."""
        return [record.pk, *(value(record) for value in self._exported.values())]

    @cached_property
    def _exported(self) -> Mapping[str, Value]:
        return self.export or fields(*self.columns)
