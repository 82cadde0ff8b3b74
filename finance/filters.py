"""What lists can be searched by: named filters only, no request data becomes a field or a lookup."""

from __future__ import annotations

import json
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy as _

from audit.filters import DayFilter
from finance.models import Account, Customer, Transaction
from finance.products import PRODUCTS

INT32 = {"min_value": -(2**31), "max_value": 2**31 - 1}


class WholeNumberFilter(django_filters.Filter):
    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **INT32, **kwargs)


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
        # SQLite has no JSON_CONTAINS; the name in its quotation marks is the same on every database.
        return accounts.alias(names=Cast("products", TextField())).filter(names__contains=json.dumps(value))


def begins_with(text: str) -> Q:
    """Customers whose name, username or email begins so: what an index finds, however many there are."""
    text = " ".join(text.split())
    return Q(name__istartswith=text) | Q(username__istartswith=text) | Q(email__istartswith=text)


class CustomerFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        method="search", max_length=200, label=_("Name, username or email"), help_text=_("How one of them begins.")
    )

    class Meta:
        model = Customer
        fields: list[str] = []

    def search(self, customers: QuerySet, name: str, value: str) -> QuerySet:
        return customers.filter(begins_with(value))


class TransactionFilter(django_filters.FilterSet):
    number = WholeNumberFilter("account_id", label=_("Account number"))
    since = DayFilter("bucket_end_date", label=_("Traded since"))
    until = DayFilter("bucket_start_date", until=True, label=_("Traded until"))

    class Meta:
        model = Transaction
        fields: list[str] = []


class TradeFilter(forms.Form):
    """What trades can be searched by, within those that somebody may see: a list in memory.

    symbols: those that occur in it, which are the choices.
    """

    symbol = forms.ChoiceField(label=_("Symbol"), required=False)
    code = forms.ChoiceField(
        label=_("Kind"), required=False, choices=[("", _("Any")), ("buy", _("Buy")), ("sell", _("Sell"))]
    )
    since = forms.DateField(label=_("Since"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("Until"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: Any, *, symbols: list[str]) -> None:
        super().__init__(data)
        choices = [("", _("Any")), *((name, name.upper()) for name in symbols)]
        self.fields["symbol"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            self.add_error("until", _("This is before the first day."))
        return cleaned

    def apply(self, trades: list[Any]) -> list[Any]:
        """Those that match, in their order; none while a field has an error."""
        if not self.is_valid():
            return []
        wanted = self.cleaned_data
        since, until = wanted["since"], wanted["until"]
        return [
            trade
            for trade in trades
            if (not wanted["symbol"] or trade.symbol == wanted["symbol"])
            and (not wanted["code"] or trade.code == wanted["code"])
            and (not since or (trade.date and trade.date.date() >= since))
            and (not until or (trade.date and trade.date.date() <= until))
        ]
