"""What all searches share: named filters only, so that request data never becomes a field name or a lookup."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import Any, NamedTuple

import django_filters
from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from finance.periods import YEAR, Month
from finance.trades import Trade

INT32 = {"min_value": -(2**31), "max_value": 2**31 - 1}
PLACES = ("page", "after", "before")  # where in a list; another search starts at its first page


class WholeNumberFilter(django_filters.Filter):
    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **INT32, **kwargs)


class Chip(NamedTuple):
    """A filter in use. without: the query string of the same search without it."""

    label: str
    value: str
    without: str


def chips(form: forms.BaseForm, query: QueryDict) -> list[Chip]:
    """The filters that the query uses, in the order of the form."""
    found = []
    for field in form:
        if text := query.get(field.name, "").strip():
            names = {str(value): str(label) for value, label in getattr(field.field, "choices", ())}
            found.append(Chip(str(field.label), names.get(text, text), changed(query, {field.name: ""})))
    return found


def changed(query: QueryDict, values: dict[str, str]) -> str:
    """The query string of another search: these values instead of the query's; an empty one is left out."""
    copy = query.copy()
    for name in (*PLACES, *values):
        copy.pop(name, None)
    copy.update({name: value for name, value in values.items() if value})
    return f"?{copy.urlencode()}"


class TradeFilter(forms.Form):
    """Filters a list of trades in memory.

    numbers, trades: the account numbers and the trades to choose from.
    """

    account = forms.TypedChoiceField(label=gettext_lazy("Account"), required=False, coerce=int, empty_value=None)
    symbol = forms.ChoiceField(label=gettext_lazy("Symbol"), required=False)
    code = forms.ChoiceField(
        label=gettext_lazy("Side"), required=False,
        choices=[("", gettext_lazy("Any")), ("buy", gettext_lazy("Buy")), ("sell", gettext_lazy("Sell"))],
    )  # fmt: skip
    since = forms.DateField(label=gettext_lazy("Since"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=gettext_lazy("Until"), required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: Any, *, numbers: Collection[int], trades: Collection[Trade]) -> None:
        super().__init__(data)
        symbols = sorted({trade.symbol for trade in trades if trade.symbol})
        for name, choices in (
            ("account", [(number, str(number)) for number in sorted(set(numbers))]),
            ("symbol", [(symbol, symbol.upper()) for symbol in symbols]),
        ):
            self.fields[name].choices = [("", _("Any")), *choices]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            self.add_error("until", _("Choose a day on or after the first one."))
        return cleaned

    def apply(self, trades: list[Trade]) -> list[Trade]:
        """The matching trades in their order; none while a field has an error."""
        if not self.is_valid():
            return []
        wanted = self.cleaned_data
        since, until = wanted["since"], wanted["until"]
        return [
            trade
            for trade in trades
            if (wanted["account"] is None or trade.account_id == wanted["account"])
            and (not wanted["symbol"] or trade.symbol == wanted["symbol"])
            and (not wanted["code"] or trade.code == wanted["code"])
            and (not since or (trade.date and trade.date.date() >= since))
            and (not until or (trade.date and trade.date.date() <= until))
        ]


class Preset(NamedTuple):
    """Days that are searched for with one click. search: the query string of the page with them."""

    label: str
    search: str
    is_current: bool


def presets(query: QueryDict, today: datetime.date) -> list[Preset]:
    """Ranges of whole months until today."""
    month = Month.of(today)
    ranges = (
        (_("This month"), month, None),
        (_("Last 12 months"), month + (1 - YEAR), None),
        (_("This year"), Month(today.year, 1), None),
        (_("Last year"), Month(today.year - 1, 1), datetime.date(today.year - 1, 12, 31)),
    )
    found = []
    for label, first, last in ranges:
        days = {"since": f"{first.start:%Y-%m-%d}", "until": str(last or "")}
        is_current = all(query.get(name, "") == day for name, day in days.items())
        found.append(Preset(label, changed(query, days), is_current))
    return found
