"""The forms to enter and edit records in the portal. Each names its fields: nothing else of a record can be set."""

from __future__ import annotations

import datetime
import hmac
import re
from typing import Any

from bson.errors import BSONError
from django import forms
from django.core import signing
from django.core.signing import Signer
from django.forms.fields import InvalidJSONInput
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from finance.decoding import fingerprint
from finance.filters import INT32, midnight
from finance.models import Account, Customer, Record, Transaction
from finance.products import PRODUCTS
from sync.fields import to_extended_json

LARGEST = 2**31 - 1
MOST_NUMBERS = 1000
OLDEST = datetime.date(1900, 1, 1)


class DocumentFormField(forms.JSONField):
    """Extended JSON in a text area. What neither database could keep exactly is told, not stored."""

    empty_value: Any = None

    def to_python(self, value: Any) -> Any:
        try:
            value = super().to_python(value)
            to_extended_json(value)
        except forms.ValidationError:
            raise
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError, BSONError) as error:
            raise forms.ValidationError(_("This cannot be kept: %(reason)s"), params={"reason": error}) from error
        if value is None:
            return self.empty_value
        # A model checks no empty value, and so would take an empty array where there is to be an object.
        if not value and self.empty_value is not None and type(value) is not type(self.empty_value):
            raise forms.ValidationError(_("Enter %(empty)s for none."), params={"empty": self.empty_value})
        return value

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial if self.disabled else InvalidJSONInput(data or "")  # as it was typed


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


class RecordForm(forms.ModelForm):
    """A record's fields.

    It carries the version of the row that its editor has read; when the row has another one by now, the form is not
    valid, `conflict` is true, and it shows what has been saved meanwhile.
    """

    version = forms.CharField(widget=forms.HiddenInput, required=False, max_length=200)

    def __init__(self, data: Any = None, *, instance: Any = None) -> None:
        self.conflict = False
        self.is_new = instance is None
        record = self._meta.model() if instance is None else instance
        self.stored = {field.attname: getattr(record, field.attname) for field in record._meta.concrete_fields}
        self.current = "" if self.is_new else version_of(record)
        super().__init__(data, instance=record, initial={"version": self.current})
        for name, field in self.fields.items():
            if isinstance(field, DocumentFormField):
                field.empty_value = record._meta.get_field(name).get_default()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.is_new and not hmac.compare_digest(cleaned.get("version", "").encode(), self.current.encode()):
            self.conflict = True
            # With the version of what this message shows, saving again is a decision.
            self.data = _with(self.data, self.current)
            raise forms.ValidationError(
                _(
                    "Somebody else has changed this meanwhile. Stored is now: %(stored)s. "
                    "Save again to replace that by what you see below."
                ),
                params={"stored": self._stored_in_words(cleaned)},
            )
        return cleaned

    def _stored_in_words(self, cleaned: dict[str, Any]) -> str:
        different = []
        for name, field in self.fields.items():
            if name in self.stored and cleaned.get(name) != self.stored[name]:
                value = self.fields[name].prepare_value(self.stored[name])
                value = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                different.append(f"{capfirst(str(field.label or name))}: {value[:200] or _('nothing')}")
        return "; ".join(different) or _("what you see below")

    @property
    def changed_fields(self) -> list[str]:
        """Those of the record that are not as they were."""
        return [name for name, value in self.stored.items() if getattr(self.instance, name) != value]

    def save(self, commit: bool = True) -> Any:
        """Saves the record; None when it is as it was, and nothing was written."""
        if self.is_new:
            self.instance.save(force_insert=True)
            return self.instance
        changed = self.changed_fields
        if not changed:
            return None
        self.instance.save(update_fields=changed)
        return self.instance


class AccountForm(RecordForm):
    """An account's limit and products; its number while it is new, because other records refer to it."""

    limit = forms.IntegerField(label=gettext_lazy("Limit"), min_value=0, max_value=LARGEST)
    products = forms.MultipleChoiceField(
        label=gettext_lazy("Products"), required=False, widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Account
        fields = ("account_id", "limit", "products")

    def __init__(self, data: Any = None, *, instance: Any = None) -> None:
        super().__init__(data, instance=instance)
        names = dict.fromkeys([*PRODUCTS, *self.stored["products"]])
        self.fields["products"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        if not self.is_new:
            del self.fields["account_id"]

    def clean_account_id(self) -> int:
        number = self.cleaned_data["account_id"]
        if Account.objects.filter(account_id=number).exists():
            raise forms.ValidationError(_("There is an account with this number already."))
        return number

    def clean_products(self) -> list[str]:
        """In the order that the account has them; new ones after them."""
        chosen = self.cleaned_data["products"]
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
        field_classes = {"tier_and_details": DocumentFormField}
        widgets = {
            "address": forms.Textarea(attrs={"rows": 3}),
            "tier_and_details": forms.Textarea(attrs={"rows": 8, "class": "code", "spellcheck": "false"}),
        }
        help_texts = {
            "tier_and_details": gettext_lazy(
                'As JSON, by id: {"a1": {"tier": "Gold", "id": "a1", "active": true, "benefits": ["sports tickets"]}}'
            )
        }

    def clean_birthdate(self) -> datetime.datetime:
        day = self.cleaned_data["birthdate"]
        stored = self.stored["birthdate"]
        if stored and stored.date() == day:
            return stored  # with its time of day
        if not OLDEST <= day <= datetime.datetime.now(datetime.UTC).date():
            raise forms.ValidationError(_("Enter a day from 1900 until today."))
        return midnight(day)


class TransactionForm(RecordForm):
    """A bucket of trades; its count and its first and last day follow from them."""

    class Meta:
        model = Transaction
        fields = ("account_id", "transactions")
        field_classes = {"transactions": DocumentFormField}
        labels = {"transactions": gettext_lazy("Trades")}
        widgets = {"transactions": forms.Textarea(attrs={"rows": 16, "class": "code", "spellcheck": "false"})}
        help_texts = {
            "transactions": gettext_lazy(
                'As JSON: [{"date": {"$date": "2020-01-31T00:00:00Z"}, "amount": 10, "transaction_code": "buy", '
                '"symbol": "adbe", "price": "10.5", "total": "105"}]'
            )
        }

    def __init__(self, data: Any = None, *, instance: Any = None) -> None:
        super().__init__(data, instance=instance)
        if not self.is_new:
            del self.fields["account_id"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        trades = cleaned.get("transactions")
        if isinstance(trades, list) and (self.is_new or trades != self.stored["transactions"]):
            found = [trade.get("date") for trade in trades if isinstance(trade, dict)]
            dates = [date for date in found if isinstance(date, datetime.datetime)]
            if not dates:
                self.add_error("transactions", _("Enter at least one trade with a date."))
                return cleaned
            self.instance.transaction_count = len(trades)
            self.instance.bucket_start_date, self.instance.bucket_end_date = min(dates), max(dates)
        return cleaned


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


def version_of(record: Record) -> str:
    """What an editor has read, as a signed hash of the whole row."""
    salt = f"finance.{record._meta.model_name}"
    return Signer(salt=salt).signature(signing.b64_encode(fingerprint(record)).decode())
