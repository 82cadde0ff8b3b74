"""The forms of senior management's dashboard, and of the list of trades behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from finance.filters import Chip
from finance.models import Customer
from finance.narrowing import ALL, NONE, Narrowing
from finance.periods import Range, RangeForm
from finance.report import SIDES
from finance.searching import matching

CHOSEN_FROM = 10  # customers who are offered when several match
OBJECT_ID = re.compile(r"[0-9a-f]{24}")


class NarrowForm(RangeForm):
    """A range of months, and what else narrows the report. Addresses name a customer by `_id`; people search by name.

    data: the query. known: the names to choose from, by field. customers: whom the user may see.
    """

    symbol = forms.ChoiceField(label=gettext_lazy("Symbol"), required=False)
    product = forms.ChoiceField(label=gettext_lazy("Product"), required=False)
    tier = forms.ChoiceField(label=gettext_lazy("Tier"), required=False)
    find = forms.CharField(
        label=gettext_lazy("Customer"), required=False, max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": gettext_lazy("Any word")}),
    )  # fmt: skip
    customer = forms.CharField(required=False, widget=forms.HiddenInput)

    NAMED = ("symbol", "product", "tier")

    def __init__(self, data: Any, *, default: Range, known: Mapping[str, Iterable[str]], customers: Any) -> None:
        super().__init__(data, default=default)
        self.data = {name: data.get(name) or "" for name in self.fields} | {**self.data}
        self.customers = customers
        self.found: list[Customer] = []  # to choose from, when several match
        self.chosen: Customer | None = None
        for name in self.NAMED:
            listed = [(value, value.upper() if name == "symbol" else value) for value in known[name] if value]
            self.fields[name].choices = [("", _("Any")), *listed, (NONE, _("none"))]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if text := cleaned.get("find"):
            matches = self.customers.filter(matching(text)).order_by("name", "pk")[: CHOSEN_FROM + 1]
            self.found = [each for each in matches if OBJECT_ID.fullmatch(each.pk)]  # SQL may have written another key
            if not self.found:
                self.add_error("find", _("No customer has such a name."))
            elif len(self.found) > 1:
                self.add_error("find", _("Several customers match. Choose one below."))
            else:
                self.chosen = self.found[0]
        elif key := cleaned.get("customer"):
            self.chosen = self.customers.filter(pk=key).first() if OBJECT_ID.fullmatch(key) else None
            if self.chosen is None:
                self.add_error("find", _("There is no such customer any more."))
        if self.chosen:  # the field is empty again: a chip names the customer
            self.data = {**self.data, "find": "", "customer": str(self.chosen.pk)}
        return cleaned

    def narrowing(self) -> Narrowing:
        """The requested one, or all trades while a field has an error."""
        if not self.is_valid():
            return ALL
        named = {name: self.cleaned_data[name] for name in self.NAMED}
        return Narrowing(**named, customer=str(self.chosen.pk) if self.chosen else "")

    def query(self, **changes: str) -> str:
        """The query string of the same question with these changes; an empty value leaves a field out."""
        values = {**self.range().query, **self.narrowing().stated, **changes}
        return f"?{urlencode({name: value for name, value in values.items() if value})}"

    @property
    def chips(self) -> list[Chip]:
        """What the report is narrowed to, besides its months."""
        shown = self.narrowing().stated
        labels = {**{name: str(self.fields[name].label) for name in self.NAMED}, "customer": _("Customer")}
        names = {**shown, "customer": str(self.chosen or "")}
        for name in self.NAMED:
            names[name] = dict(self.fields[name].choices).get(shown.get(name), "")  # type: ignore[attr-defined]
        return [Chip(labels[name], str(names[name]), self.query(**{name: ""})) for name in labels if name in shown]

    @property
    def choices(self) -> list[tuple[str, str]]:
        """When several customers match: the name and the query string of each; CHOSEN_FROM of them at most."""
        if len(self.found) < 2:
            return []
        kept = {name: self.data[name] for name in self.fields if name not in ("find", "customer") and self.data[name]}
        return [(str(each), f"?{urlencode(kept | {'customer': each.pk})}") for each in self.found[:CHOSEN_FROM]]

    @property
    def more(self) -> bool:
        """Whether more customers match than are offered."""
        return len(self.found) > CHOSEN_FROM


class FoundTradesForm(NarrowForm):
    """What narrows the list of trades: the same as the dashboard, and the side."""

    side = forms.ChoiceField(
        label=gettext_lazy("Side"), required=False, widget=forms.HiddenInput,
        choices=[("", gettext_lazy("Any")), *zip(SIDES, (gettext_lazy("Buy"), gettext_lazy("Sell")), strict=True)],
    )  # fmt: skip

    @property
    def side_chosen(self) -> str:
        return self.cleaned_data["side"] if self.is_valid() else ""

    def query(self, **changes: str) -> str:
        return super().query(**{"side": self.side_chosen, **changes})

    @property
    def sides(self) -> list[tuple[str, str, bool]]:
        """The sides to choose from: (name, query string, whether it is the current one)."""
        choices = self.fields["side"].choices  # type: ignore[attr-defined]
        return [(str(name), self.query(side=side), side == self.side_chosen) for side, name in choices]
