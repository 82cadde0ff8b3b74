"""The columns of lists. Sortable is what has an index, ties broken by the key, so that pages do not overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_tables2 as tables
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django_tables2.data import TableListData
from django_tables2.utils import call_with_appropriate

from finance.models import Account, Customer, Transaction
from finance.paging import Order
from finance.tiers import tier_names
from finance.unreadable import cell
from sync.mapping.unreadable import Unreadable

LOOK = {"class": "table table-hover align-middle mb-0"}
NUMBER = {"th": {"class": "text-end pe-4"}, "td": {"class": "text-end pe-4 number"}}
IF_WIDE = {"th": {"class": "d-none d-md-table-cell"}, "td": {"class": "d-none d-md-table-cell"}}
NUMBER_IF_WIDE = {
    "th": {"class": "text-end pe-4 d-none d-md-table-cell"},
    "td": {"class": "text-end pe-4 number d-none d-md-table-cell"},
}
DATE = "Y-m-d"
DAY = {"td": {"class": "text-nowrap number"}}


class InOrder(TableListData):
    """Rows as the database has sorted them: its collation is not Python's."""

    def order_by(self, aliases: Any) -> None:
        pass


class RecordTable(tables.Table):
    """A table in which a value that its column cannot show is shown as it is stored, and marked."""

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


class AccountTable(RecordTable):
    account_id = tables.Column(linkify=True, order_by=("account_id", "pk"), verbose_name=_("Account number"))
    limit = tables.Column(order_by=("limit", "pk"), attrs=NUMBER)
    products = tables.Column(orderable=False)

    class Meta:
        model = Account
        fields = ("account_id", "limit", "products")
        attrs = LOOK
        order_by = "account_id"
        empty_text = _("No account matches.")

    def render_limit(self, value: int) -> str:
        return f"{value:,}"

    def render_products(self, value: Any) -> SafeString:
        return names(value)


class CustomerTable(RecordTable):
    name = tables.Column(linkify=True, order_by=("name", "pk"))
    username = tables.Column(order_by=("username", "pk"), attrs=IF_WIDE)
    email = tables.Column(order_by=("email", "pk"), attrs=IF_WIDE)
    accounts = tables.Column(orderable=False, attrs=NUMBER, verbose_name=_("Accounts"))
    tier_and_details = tables.Column(orderable=False, verbose_name=_("Tiers"))

    class Meta:
        model = Customer
        fields = ("name", "username", "email", "accounts", "tier_and_details")
        attrs = LOOK
        order_by = "name"
        empty_text = _("No customer matches.")

    def render_accounts(self, value: Any) -> str:
        return f"{len(value):,}" if isinstance(value, list) else cell(value)

    def render_tier_and_details(self, value: Any, record: Customer) -> SafeString:
        return names(tier_names(record)) if isinstance(value, dict) else cell(value)


class TransactionTable(RecordTable):
    account_id = tables.Column(
        linkify=True, order_by=("account_id", "bucket_end_date", "pk"), verbose_name=_("Account")
    )
    transaction_count = tables.Column(orderable=False, attrs=NUMBER, verbose_name=_("Trades"))
    bucket_start_date = tables.DateColumn(format=DATE, attrs=DAY, orderable=False, verbose_name=_("From"))
    bucket_end_date = tables.DateColumn(
        format=DATE, attrs=DAY, order_by=("bucket_end_date", "pk"), verbose_name=_("Until")
    )

    class Meta:
        model = Transaction
        fields = ("account_id", "transaction_count", "bucket_start_date", "bucket_end_date")
        attrs = LOOK
        order_by = "-bucket_end_date"
        empty_text = _("No transactions match.")


class TradeTable(RecordTable):
    """Trades of one bucket or of several, as the list they come in."""

    account_id = tables.Column(verbose_name=_("Account"), attrs=IF_WIDE)
    date = tables.DateColumn(format=DATE, attrs=DAY)
    symbol = tables.Column()
    code = tables.Column(verbose_name=_("Kind"))
    amount = tables.Column(attrs=NUMBER)
    price = tables.Column(attrs=NUMBER_IF_WIDE)
    total = tables.Column(attrs=NUMBER)

    class Meta:
        attrs = LOOK
        orderable = False
        empty_text = _("There are no trades yet.")

    def render_symbol(self, value: str) -> SafeString:
        return format_html('<span class="text-uppercase fw-semibold">{}</span>', value)

    def render_amount(self, value: int) -> str:
        return f"{value:,}"

    def render_price(self, value: Any) -> SafeString:
        return money(value)

    def render_total(self, value: Any) -> SafeString:
        return money(value)


def order_of(table: type[tables.Table], asked: str) -> Order:
    """The order by a column that can be sorted; by the table's own where `asked` names none."""
    sortable = {name: column for name, column in table.base_columns.items() if column.orderable is not False}
    name = asked if asked.removeprefix("-") in sortable else table._meta.order_by[0]
    return Order(name, tuple(sortable[name.removeprefix("-")].order_by), descending=name.startswith("-"))


def money(value: Any) -> SafeString:
    """Two digits to read; all of them in the element's value, for whoever looks closer."""
    if abs(value.adjusted()) > 40:
        return format_html("{}", value)
    return format_html('<data value="{}" title="{}">{}</data>', value, value, f"{value:,.2f}")


def names(values: Any) -> SafeString:
    """A badge for each name. Raises TypeError for what is no list of them."""
    if not isinstance(values, list):
        raise TypeError
    return format_html_join(" ", '<span class="badge text-bg-light border fw-normal">{}</span>', ((v,) for v in values))
