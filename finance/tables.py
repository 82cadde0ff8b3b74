"""What the columns of all lists share.

A column with an `order_by` can be sorted by. It needs an index and ends with the key, which breaks ties so that pages
do not overlap.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import django_tables2 as tables
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_tables2.data import TableListData
from django_tables2.utils import call_with_appropriate

from finance.models import Record
from finance.paging import SIZES, Order
from finance.unreadable import cell
from sync.core.humanize import day, grouped
from sync.mapping.unreadable import Unreadable

RELATED = 20  # related records on a record's page
LOOK = {"class": "table table-hover align-middle mb-0"}
NUMBER = {"th": {"class": "text-end pe-4"}, "td": {"class": "text-end pe-4 number"}}
IF_WIDE = {"th": {"class": "d-none d-md-table-cell"}, "td": {"class": "d-none d-md-table-cell"}}
NUMBER_IF_WIDE = {
    "th": {"class": "text-end pe-4 d-none d-md-table-cell"},
    "td": {"class": "text-end pe-4 number d-none d-md-table-cell"},
}
DAY = {"td": {"class": "text-nowrap number"}}


class InOrder(TableListData):
    """Rows in the database's order, whose collation differs from Python's."""

    def order_by(self, aliases: Any) -> None:
        pass


class RecordTable(tables.Table):
    """A table that shows a value its column cannot display as it is stored, and marks it."""

    sizes = SIZES

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for column in cls.base_columns.values():
            if not column.order_by:
                column.orderable = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for column in self.columns.iterall():
            column.render = _guarded(column.render)


def _guarded(render: Callable[..., Any]) -> Callable[..., Any]:
    def render_any(**found: Any) -> Any:
        value = found["value"]
        try:
            return cell(value) if isinstance(value, Unreadable) else call_with_appropriate(render, found)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
            return cell(value)

    return render_any


class DayColumn(tables.Column):
    """The date of a moment, which is a day in UTC for every user."""

    def render(self, value: datetime.datetime) -> str:
        return day(value)


class SelectColumn(tables.Column):
    """A checkbox for each row, to export the selected ones. static/finance/lists.js selects all with the one above."""

    empty_values = ()

    def __init__(self) -> None:
        super().__init__(accessor="pk", orderable=False, attrs={"th": {"class": "pick"}, "td": {"class": "pick"}})

    @property
    def header(self) -> SafeString:
        return format_html(
            '<input type="checkbox" class="form-check-input" aria-label="{}" data-select-all hidden>',
            _("Select all rows"),
        )

    def render(self, value: str, record: Record) -> SafeString:
        return format_html(
            '<input type="checkbox" class="form-check-input" name="only" value="{}" aria-label="{}">', value,
            gettext("Select %(record)s") % {"record": record},
        )  # fmt: skip


class TradeTable(RecordTable):
    """Trades of one or several buckets, as a list in its own order: see finance.trades.in_order."""

    date = DayColumn(verbose_name=_("Date"), attrs=DAY, order_by="date")
    account_id = tables.Column(verbose_name=_("Account"), attrs=IF_WIDE)
    symbol = tables.Column(verbose_name=_("Symbol"), order_by="symbol")
    code = tables.Column(verbose_name=_("Side"))
    amount = tables.Column(verbose_name=_("Quantity"), attrs=NUMBER, order_by="amount")
    price = tables.Column(verbose_name=_("Price"), attrs=NUMBER_IF_WIDE, order_by="price")
    total = tables.Column(verbose_name=_("Total"), attrs=NUMBER, order_by="total")

    class Meta:
        attrs = LOOK
        orderable = False
        order_by = "-date"
        empty_text = _("There are no trades yet.")

    def render_symbol(self, value: str) -> SafeString:
        return format_html('<span class="text-uppercase fw-semibold">{}</span>', value)

    def render_amount(self, value: int) -> str:
        return grouped(value)

    def render_price(self, value: Any) -> SafeString:
        return money(value)

    def render_total(self, value: Any) -> SafeString:
        return money(value)


class FoundTradeTable(TradeTable):
    """Trades of all customers, in the order of MongoDB: see finance.found_trades.ORDERS."""

    account_id = tables.Column(verbose_name=_("Account"), attrs=IF_WIDE, linkify=lambda value: _account(value))
    symbol = tables.Column(verbose_name=_("Symbol"))
    amount = tables.Column(verbose_name=_("Quantity"), attrs=NUMBER)
    price = tables.Column(verbose_name=_("Price"), attrs=NUMBER_IF_WIDE)


def _account(number: Any) -> str:
    """The list of accounts with this number: the data has one that occurs twice."""
    return f"{reverse('finance:account_list')}?number={number}"


def order_of(table: type[tables.Table], asked: str = "") -> Order:
    """The order of a sortable column, or the table's own if `asked` names none."""
    sortable = {name: column for name, column in table.base_columns.items() if column.orderable is not False}
    name = asked if asked.removeprefix("-") in sortable else table._meta.order_by[0]
    return Order(name, tuple(sortable[name.removeprefix("-")].order_by), descending=name.startswith("-"))


def first_rows(table: type[tables.Table], records: QuerySet) -> tables.Table:
    """A table within another page: the first records in the order of their own list."""
    return table(list(order_of(table).apply(records)[:RELATED]), order_by=(), orderable=False)


def money(value: Any) -> SafeString:
    """Two digits for reading; the element's value has all of them."""
    if abs(value.adjusted()) > 40:
        return format_html("{}", value)
    return format_html('<data value="{}" title="{}">{}</data>', value, value, grouped(value, 2))


def names(values: Any) -> SafeString:
    """A badge for each name. Raises TypeError if the value is not a list of names."""
    if not isinstance(values, list):
        raise TypeError
    return format_html_join(" ", '<span class="badge text-bg-light border fw-normal">{}</span>', ((v,) for v in values))
