"""What all searches share: named filters only, so that request data never becomes a field name or a lookup."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _

INT32 = {"min_value": -(2**31), "max_value": 2**31 - 1}


class WholeNumberFilter(django_filters.Filter):
    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **INT32, **kwargs)


class TradeFilter(forms.Form):
    """Filters a list of trades in memory.

    symbols: the symbols in the list, which are the choices.
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
            self.add_error("until", _("Choose a day on or after the first one."))
        return cleaned

    def apply(self, trades: list[Any]) -> list[Any]:
        """The matching trades in their order; none while a field has an error."""
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
