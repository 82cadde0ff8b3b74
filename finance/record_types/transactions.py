"""Transactions in the portal: buckets of trades of one account."""

from __future__ import annotations

import datetime
from typing import Any

import django_filters
import django_tables2 as tables
from django import forms
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from audit.filters import DayFilter
from finance.filters import WholeNumberFilter
from finance.forms import RecordForm
from finance.models import Transaction
from finance.paging import size_of_page
from finance.record_types.base import RecordType
from finance.tables import DAY, LOOK, NUMBER, DayColumn, RecordTable, TradeTable
from finance.trade_rows import TradesField
from finance.trades import trades_of


class TransactionFilter(django_filters.FilterSet):
    number = WholeNumberFilter("account_id", label=_("Account number"))
    since = DayFilter("bucket_end_date", label=_("Traded since"))
    until = DayFilter("bucket_start_date", until=True, label=_("Traded until"))

    class Meta:
        model = Transaction
        fields: list[str] = []


class TransactionTable(RecordTable):
    account_id = tables.Column(
        linkify=True, order_by=("account_id", "bucket_end_date", "pk"), verbose_name=_("Account")
    )
    transaction_count = tables.Column(attrs=NUMBER, verbose_name=_("Trades"))
    bucket_start_date = DayColumn(attrs=DAY, verbose_name=_("From"))
    bucket_end_date = DayColumn(attrs=DAY, order_by=("bucket_end_date", "pk"), verbose_name=_("Until"))

    class Meta:
        model = Transaction
        fields = ("account_id", "transaction_count", "bucket_start_date", "bucket_end_date")
        attrs = LOOK
        order_by = "-bucket_end_date"
        empty_text = _("No transactions match your search.")


class TransactionForm(RecordForm):
    """A bucket of trades. Its count, first day and last day are computed from them."""

    class Meta:
        model = Transaction
        fields = ("account_id", "transactions")
        labels = {"transactions": _("Trades")}
        widgets = {"transactions": forms.Textarea(attrs={"rows": 16, "class": "code", "spellcheck": "false"})}
        help_texts = {
            "transactions": _(
                'As JSON: [{"date": {"$date": "2020-01-31T00:00:00Z"}, "amount": 10, "transaction_code": "buy", '
                '"symbol": "adbe", "price": "10.5", "total": "105"}]'
            )
        }

    def fit(self) -> None:
        self.show_rows("transactions", TradesField(label=_("Trades")))
        if not self.is_new:
            del self.fields["account_id"]

    def clean_transactions(self) -> list[Any]:
        trades = self.cleaned_data["transactions"]
        if isinstance(trades, list) and not _dates(trades):  # the model rejects anything but a list
            raise forms.ValidationError(_("Enter at least one trade with a date."))
        return trades

    def _post_clean(self) -> None:
        super()._post_clean()
        if "transactions" in self.cleaned_data:
            trades = self.cleaned_data["transactions"]
            dates = _dates(trades)
            self.instance.transaction_count = len(trades)
            self.instance.bucket_start_date, self.instance.bucket_end_date = min(dates), max(dates)


def _dates(trades: list[Any]) -> list[datetime.datetime]:
    found = [trade.get("date") for trade in trades if isinstance(trade, dict)]
    return [date for date in found if isinstance(date, datetime.datetime)]


def its_trades(request: HttpRequest, bucket: Transaction) -> dict[str, Any]:
    found = trades_of(bucket)
    table = TradeTable(found.trades, exclude=("account_id",))
    table.paginator = Paginator(table.rows, size_of_page(request.GET.get("per_page", "")))
    table.page = table.paginator.get_page(request.GET.get("page"))
    title = _("Transactions of account %(number)s") % {"number": bucket.account_id}
    return {"title": title, "unread": found.unread, "trades": table}


TRANSACTIONS = RecordType(
    model=Transaction, filters=TransactionFilter, table=TransactionTable, form=TransactionForm,
    related=its_trades,
)  # fmt: skip
