"""Months, ranges of months, and the form that asks for a range."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sync.core.humanize import day

YEAR = 12
MOST_MONTHS = 60  # in a chart; a longer range is shown by year


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month. Adding a number returns the month that many months later."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Parses "2016-01". Raises ValueError."""
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}", text):
            raise ValueError(f"{text!r} is not a month")
        month = cls(int(text[:4]), int(text[5:]))
        month.start  # noqa: B018  (raises for a year or month that there is not)
        return month

    @classmethod
    def of(cls, day: datetime.date) -> Month:
        return cls(day.year, day.month)

    @property
    def start(self) -> datetime.datetime:
        return datetime.datetime(self.year, self.month, 1, tzinfo=datetime.UTC)

    @property
    def index(self) -> int:
        return self.year * YEAR + self.month - 1

    def __add__(self, months: int) -> Month:
        year, month = divmod(self.index + months, YEAR)
        return Month(year, month + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


@dataclass(frozen=True)
class Range:
    """From the first month to the last, both included."""

    first: Month
    last: Month

    def __contains__(self, month: Month) -> bool:
        return self.first <= month <= self.last

    @property
    def count(self) -> int:
        """How many months."""
        return self.last.index - self.first.index + 1

    @property
    def before(self) -> Range | None:
        """The range of the same length right before this one; None if the calendar has none."""
        index = self.first.index - self.count
        return Range(self.first + -self.count, self.first + -1) if index >= YEAR else None

    @property
    def query(self) -> dict[str, str]:
        """Its values in an address."""
        return {"first": str(self.first), "last": str(self.last)}

    @property
    def months(self) -> list[Month]:
        return [self.first + step for step in range(self.count)]

    @property
    def by_year(self) -> bool:
        return self.count > MOST_MONTHS

    def label(self, month: Month) -> str:
        """The label of a month in a chart of this range: the month, or its year if there are many."""
        return f"{month.year:04}" if self.by_year else str(month)

    def partial(self, until: datetime.datetime) -> dict[str, str]:
        """The labels of months or years of which this range has a part only, and which part.

        until: when the data was read; what follows is still to come.
        """
        found: dict[str, str] = {}
        if self.by_year and self.first.month > 1:
            found[self.label(self.first)] = _("from %(month)s") % {"month": self.first}
        if self.by_year and self.last.month < YEAR:
            found[self.label(self.last)] = _("until %(month)s") % {"month": self.last}
        if (now := Month.of(until)) in self:
            found[self.label(now)] = _("until %(day)s") % {"day": day(until)}
        return found

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(self.label(month) for month in self.months))


class MonthField(forms.Field):
    widget = forms.TextInput(attrs={"type": "month", "pattern": "[0-9]{4}-[0-9]{2}", "placeholder": "2016-01"})

    def to_python(self, value: Any) -> Any:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            month = Month.parse(text)
        except ValueError:
            month = None
        if month is None or not 1000 <= month.year <= 9998:
            raise forms.ValidationError(_("Enter a month such as 2016-01."))
        return month


class RangeForm(forms.Form):
    """A range of months. An empty field takes its value from `default`."""

    first = MonthField(label=gettext_lazy("From"), required=False)
    last = MonthField(label=gettext_lazy("To"), required=False)

    def __init__(self, data: Any, *, default: Range) -> None:
        asked = {"first": data.get("first") or str(default.first), "last": data.get("last") or str(default.last)}
        super().__init__(asked)
        self.default = default

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last and first > last:
            self.add_error("last", _("Choose a month on or after the first one."))
        return cleaned

    def range(self) -> Range:
        """The requested range, or the default while a field has an error."""
        if not self.is_valid():
            return self.default
        return Range(self.cleaned_data["first"], self.cleaned_data["last"])
