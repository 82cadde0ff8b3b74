"""Customers in the portal."""

from __future__ import annotations

import datetime
from typing import Any

import django_filters
import django_tables2 as tables
from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from audit.filters import midnight
from finance.forms import NumbersField, RecordForm
from finance.models import Account, Customer
from finance.record_types.accounts import AccountTable
from finance.record_types.base import RecordType, fields
from finance.searching import matching
from finance.tables import IF_WIDE, LOOK, NUMBER, RecordTable, first_rows, names
from finance.tier_rows import TiersField
from finance.tiers import tier_names, tiers_of
from finance.unreadable import cell
from sync.core.humanize import grouped

OLDEST = datetime.date(1900, 1, 1)


class CustomerFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        method="search",
        max_length=200,
        label=_("Name, username or email"),
        help_text=_("The start of any word, such as a last name."),
    )

    class Meta:
        model = Customer
        fields: list[str] = []

    def search(self, customers: QuerySet, name: str, value: str) -> QuerySet:
        return customers.filter(matching(value))


class CustomerTable(RecordTable):
    name = tables.Column(verbose_name=_("Name"), linkify=True, order_by=("name", "pk"))
    username = tables.Column(verbose_name=_("Username"), order_by=("username", "pk"), attrs=IF_WIDE)
    email = tables.Column(verbose_name=_("Email"), order_by=("email", "pk"), attrs=IF_WIDE)
    accounts = tables.Column(attrs=NUMBER, verbose_name=_("Accounts"))
    tier_and_details = tables.Column(verbose_name=_("Tiers"))

    class Meta:
        model = Customer
        fields = ("name", "username", "email", "accounts", "tier_and_details")
        attrs = LOOK
        order_by = "name"
        empty_text = _("No customers match your search.")

    def render_accounts(self, value: Any) -> str:
        return grouped(len(value)) if isinstance(value, list) else cell(value)

    def render_tier_and_details(self, value: Any, record: Customer) -> SafeString:
        return names(tier_names(record)) if isinstance(value, dict) else cell(value)


class CustomerForm(RecordForm):
    """A customer. The user who may see them is set by staff, never here."""

    birthdate = forms.DateField(label=_("Birthdate"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    email = forms.EmailField(label=_("Email"), required=False, max_length=254)
    accounts = NumbersField(
        label=_("Account numbers"), required=False, max_length=20_000,
        help_text=_("Separate numbers with commas. A user linked to this customer can see these accounts."),
    )  # fmt: skip

    class Meta:
        model = Customer
        fields = ("username", "name", "email", "address", "birthdate", "active", "accounts", "tier_and_details")
        widgets = {
            "address": forms.Textarea(attrs={"rows": 3}),
            "tier_and_details": forms.Textarea(attrs={"rows": 8, "class": "code", "spellcheck": "false"}),
        }
        help_texts = {
            "tier_and_details": _(
                'As JSON, by id: {"a1": {"tier": "Gold", "id": "a1", "active": true, "benefits": ["sports tickets"]}}'
            )
        }

    def fit(self) -> None:
        self.fits("accounts", int)
        self.show_rows("tier_and_details", TiersField(label=_("Tiers")))

    def clean_birthdate(self) -> datetime.datetime:
        day = self.cleaned_data["birthdate"]
        stored = self.stored["birthdate"]
        if not OLDEST <= day <= datetime.datetime.now(datetime.UTC).date():
            raise forms.ValidationError(_("Enter a date between 1900 and today."))
        is_moment = isinstance(stored, datetime.datetime)  # of which the form shows the day
        return datetime.datetime.combine(day, stored.timetz()) if is_moment else midnight(day)


def accounts_and_tiers(request: HttpRequest, customer: Customer) -> dict[str, Any]:
    accounts = Account.objects.visible_to(request.user).filter(account_id__in=customer.account_numbers)
    return {"accounts": first_rows(AccountTable, accounts), "tiers": tiers_of(customer)}


CUSTOMERS = RecordType(
    model=Customer, filters=CustomerFilter, table=CustomerTable, form=CustomerForm, own=True,
    export=fields("username", "name", "email", "address", "birthdate", "active", "accounts") | {"tiers": tier_names},
    related=accounts_and_tiers,
)  # fmt: skip
