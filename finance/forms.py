"""The forms to enter and edit records in the portal. Each names its fields: nothing else of a record can be set."""

from __future__ import annotations

import datetime
import hmac
import re
from typing import Any

from django import forms
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit.editing import EditForm, version_of
from audit.filters import midnight
from audit.values import visible
from finance.filters import INT32
from finance.models import Account, Customer, Record, Transaction
from finance.products import PRODUCTS
from sync.mapping.readable import ReadableForm

LARGEST = 2**31 - 1
MOST_NUMBERS = 1000
OLDEST = datetime.date(1900, 1, 1)


class NumbersField(forms.CharField):
    """Account numbers, separated by commas or spaces."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        words = re.split(r"[\s,;]+", super().to_python(value) or "")
        words = [word for word in words if word]
        if len(words) > MOST_NUMBERS:
            raise forms.ValidationError(_("These are more than %(most)s numbers."), params={"most": MOST_NUMBERS})
        for word in words:
            if not re.fullmatch(r"-?[0-9]{1,10}", word) or not INT32["min_value"] <= int(word) <= INT32["max_value"]:
                raise forms.ValidationError(_("%(word)s is no account number."), params={"word": word[:20]})
        return [int(word) for word in words]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class RecordForm(EditForm, ReadableForm):
    """A record's fields, of one that is new or of one that is edited."""

    version_required = True

    def __init__(self, data: Any = None, *, instance: Any = None) -> None:
        super().__init__(data, instance=instance)

    def fits(self, name: str, kind: type) -> bool:
        """Whether a field is an array of this kind, which its control can show. If not, it becomes a text area."""
        value = self.stored[name]
        fits = isinstance(value, list) and all(type(item) is kind and _is_utf8(item) for item in value)
        if not fits:  # another program has stored it
            self.fields[name] = self._meta.model._meta.get_field(name).formfield()
        return fits

    def save(self, commit: bool = True) -> Any:
        """Saves the record; None when it is as it was, and nothing was written."""
        if self.is_new:
            self.instance.save(force_insert=True)
            return self.instance
        return super().save(commit) if self.changed_fields else None


class AccountForm(RecordForm):
    """An account's limit and products; its number while it is new, because other records refer to it."""

    limit = forms.IntegerField(label=gettext_lazy("Limit"), min_value=0, max_value=LARGEST)
    products = forms.MultipleChoiceField(
        label=gettext_lazy("Products"), required=False, widget=forms.CheckboxSelectMultiple
    )

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

        No constraint can say it, because the data has a number that occurs twice; so accounts are added one at a time,
        under a lock on the row of their content type.
        """
        number = self.cleaned_data["account_id"]
        ContentType.objects.select_for_update().get(pk=ContentType.objects.get_for_model(Account).pk)
        if Account.objects.filter(account_id=number).exists():
            raise forms.ValidationError(_("There is an account with this number already."))
        return number

    def clean_products(self) -> list[str]:
        """In the order that the account has them; new ones after them."""
        chosen = self.cleaned_data["products"]
        if not isinstance(self.fields["products"], forms.MultipleChoiceField):
            return chosen
        kept = [name for name in self.stored["products"] if name in chosen]
        return kept + [name for name in chosen if name not in kept]


class CustomerForm(RecordForm):
    """A customer. Who may log in as them is set in the admin alone."""

    birthdate = forms.DateField(
        label=gettext_lazy("Birthdate"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    email = forms.EmailField(label=gettext_lazy("Email"), required=False, max_length=254)
    accounts = NumbersField(
        label=gettext_lazy("Account numbers"), required=False, max_length=20_000,
        help_text=gettext_lazy("Separated by commas. Whoever is linked to this customer sees these accounts."),
    )  # fmt: skip

    class Meta:
        model = Customer
        fields = ("username", "name", "email", "address", "birthdate", "active", "accounts", "tier_and_details")
        widgets = {
            "address": forms.Textarea(attrs={"rows": 3}),
            "tier_and_details": forms.Textarea(attrs={"rows": 8, "class": "code", "spellcheck": "false"}),
        }
        help_texts = {
            "tier_and_details": gettext_lazy(
                'As JSON, by id: {"a1": {"tier": "Gold", "id": "a1", "active": true, "benefits": ["sports tickets"]}}'
            )
        }

    def fit(self) -> None:
        self.fits("accounts", int)

    def clean_birthdate(self) -> datetime.datetime:
        day = self.cleaned_data["birthdate"]
        stored = self.stored["birthdate"]
        if not OLDEST <= day <= datetime.datetime.now(datetime.UTC).date():
            raise forms.ValidationError(_("Enter a day from 1900 until today."))
        is_moment = isinstance(stored, datetime.datetime)  # of which the form shows the day
        return datetime.datetime.combine(day, stored.timetz()) if is_moment else midnight(day)


class TransactionForm(RecordForm):
    """A bucket of trades; its count and its first and last day follow from them."""

    class Meta:
        model = Transaction
        fields = ("account_id", "transactions")
        labels = {"transactions": gettext_lazy("Trades")}
        widgets = {"transactions": forms.Textarea(attrs={"rows": 16, "class": "code", "spellcheck": "false"})}
        help_texts = {
            "transactions": gettext_lazy(
                'As JSON: [{"date": {"$date": "2020-01-31T00:00:00Z"}, "amount": 10, "transaction_code": "buy", '
                '"symbol": "adbe", "price": "10.5", "total": "105"}]'
            )
        }

    def fit(self) -> None:
        if not self.is_new:
            del self.fields["account_id"]

    def clean_transactions(self) -> list[Any]:
        trades = self.cleaned_data["transactions"]
        if isinstance(trades, list) and not _dates(trades):  # what is no list, the model refuses
            raise forms.ValidationError(_("Enter at least one trade with a date."))
        return trades

    def _post_clean(self) -> None:
        super()._post_clean()
        if "transactions" in self.cleaned_data:
            trades = self.cleaned_data["transactions"]
            dates = _dates(trades)
            self.instance.transaction_count = len(trades)
            self.instance.bucket_start_date, self.instance.bucket_end_date = min(dates), max(dates)


def _is_utf8(item: Any) -> bool:
    return not isinstance(item, str) or item.encode(errors="ignore").decode() == item


def _dates(trades: list[Any]) -> list[datetime.datetime]:
    found = [trade.get("date") for trade in trades if isinstance(trade, dict)]
    return [date for date in found if isinstance(date, datetime.datetime)]


class DeleteForm(forms.Form):
    """The confirmation to delete a record as it was shown."""

    version = forms.CharField(widget=forms.HiddenInput, max_length=200)

    def __init__(self, data: Any = None, *, instance: Record) -> None:
        self.current = version_of(instance)
        self.conflict = False
        super().__init__(data, initial={"version": self.current})

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not hmac.compare_digest(cleaned.get("version", "").encode(), self.current.encode()):
            self.conflict = True
            self.data = _with(self.data, self.current)
            raise forms.ValidationError(
                _("Somebody else has changed this meanwhile. Look at it below, and confirm again to delete it.")
            )
        return cleaned


def _with(data: Any, version: str) -> Any:
    """What was sent, with another version."""
    data = data.copy()
    data["version"] = version
    return data
