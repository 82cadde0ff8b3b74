"""Accounts in the portal."""

from __future__ import annotations

import json
from typing import Any

import django_filters
import django_tables2 as tables
from django import forms
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from audit.values import visible
from finance.filters import INT32, WholeNumberFilter
from finance.forms import RecordForm
from finance.models import VIEW_ALL, Account, Transaction, customer_of
from finance.portfolio import csv_of, value_chart
from finance.products import PRODUCTS
from finance.record_types.base import RecordType
from finance.record_types.transactions import TransactionTable
from finance.tables import LOOK, NUMBER, RELATED, RecordTable, TradeTable, first_rows, names
from finance.trades import newest_trades
from sync.core.humanize import grouped


class AccountFilter(django_filters.FilterSet):
    number = WholeNumberFilter("account_id", label=_("Account number"))
    product = django_filters.ChoiceFilter(
        choices=[(name, name) for name in PRODUCTS], method="with_product", label=_("Product"), empty_label=_("Any")
    )
    limit_from = WholeNumberFilter("limit", lookup_expr="gte", label=_("Limit from"))
    limit_to = WholeNumberFilter("limit", lookup_expr="lte", label=_("Limit to"))

    class Meta:
        model = Account
        fields: list[str] = []

    def with_product(self, accounts: QuerySet, name: str, value: str) -> QuerySet:
        # SQLite has no JSON_CONTAINS; a quoted name is the same text on every database.
        return accounts.alias(names=Cast("products", TextField())).filter(names__contains=json.dumps(value))


class AccountTable(RecordTable):
    account_id = tables.Column(linkify=True, order_by=("account_id", "pk"), verbose_name=_("Account number"))
    limit = tables.Column(verbose_name=_("Limit"), order_by=("limit", "pk"), attrs=NUMBER)
    products = tables.Column(verbose_name=_("Products"))

    class Meta:
        model = Account
        fields = ("account_id", "limit", "products")
        attrs = LOOK
        order_by = "account_id"
        empty_text = _("No accounts match your search.")

    def render_limit(self, value: int) -> str:
        return grouped(value)

    def render_products(self, value: Any) -> SafeString:
        return names(value)


class AccountForm(RecordForm):
    """An account's limit and products, and its number while it is new: later, other records refer to it."""

    limit = forms.IntegerField(label=_("Limit"), min_value=0, max_value=INT32["max_value"])
    products = forms.MultipleChoiceField(label=_("Products"), required=False, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = Account
        fields = ("account_id", "limit", "products")

    def fit(self) -> None:
        if self.fits("products", str):
            names = dict.fromkeys([*PRODUCTS, *self.stored["products"]])
            self.fields["products"].choices = [(name, visible(name)) for name in names]  # type: ignore[attr-defined]
        if not self.is_new:
            del self.fields["account_id"]

    def clean_account_id(self) -> int:
        """Runs in the transaction that creates the account.

        A constraint cannot express the rule, because the data has a number that occurs twice. So accounts are added one
        at a time, under a lock on the row of their content type.
        """
        number = self.cleaned_data["account_id"]
        ContentType.objects.select_for_update().get(pk=ContentType.objects.get_for_model(Account).pk)
        if Account.objects.filter(account_id=number).exists():
            raise forms.ValidationError(_("An account with this number already exists."))
        return number

    def clean_products(self) -> list[str]:
        """In the account's order, new ones last."""
        chosen = self.cleaned_data["products"]
        if not isinstance(self.fields["products"], forms.MultipleChoiceField):
            return chosen
        kept = [name for name in self.stored["products"] if name in chosen]
        return kept + [name for name in chosen if name not in kept]


def its_trades(request: HttpRequest, account: Account) -> dict[str, Any]:
    """The chart and the newest trades of the account. Staff also get the records that hold the trades."""
    numbers = [account.account_id] if isinstance(account.account_id, int) else []
    found = newest_trades(numbers)
    chart = value_chart(found.trades)
    context = {
        "unread": found.unread,
        "complete": found.complete,
        "chart": chart,
        "trades": TradeTable(found.trades[:RELATED], exclude=("account_id",)),
    }
    if request.user.has_perm(VIEW_ALL):
        buckets = Transaction.objects.visible_to(request.user).filter(account_id__in=numbers)
        return context | {"buckets": first_rows(TransactionTable, buckets.defer("extra", "transactions"))}
    if (customer := customer_of(request.user)) and (csv := csv_of(customer, chart)):
        context["csv"] = f"{csv}?account={account.account_id}"
    return context


ACCOUNTS = RecordType(
    model=Account, filters=AccountFilter, table=AccountTable, form=AccountForm, own=True,
    related=its_trades,
)  # fmt: skip
