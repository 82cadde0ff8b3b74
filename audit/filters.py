"""The filters of the audit log: named ones only."""

from __future__ import annotations

import datetime
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from audit.models import Entry, act_choices
from audit.objects import kind_name, model_of

# MySQL's dates start in the year 1000; the day after the last must be valid, too.
FIRST_DAY, LAST_DAY = datetime.date(1000, 1, 1), datetime.date(9999, 12, 30)


class DayFilter(django_filters.DateFilter):
    """From the start of a day, or until its end: a comparison with a moment, which an index serves."""

    def __init__(self, field_name: str, *, until: bool = False, **kwargs: Any) -> None:
        self.until = until
        widget = forms.DateInput(attrs={"type": "date"})
        super().__init__(field_name, lookup_expr="lt" if until else "gte", widget=widget, **kwargs)

    def filter(self, qs: QuerySet, value: datetime.date | None) -> QuerySet:
        if value is None:
            return qs
        value = min(max(value, FIRST_DAY), LAST_DAY)
        moment = midnight(value + datetime.timedelta(days=self.until))
        return super().filter(qs, moment)


def kind_choices(wanted: str) -> list[tuple[str, str]]:
    """The kinds of objects in the log, which an index finds quickly, and the one that a link names."""
    kinds = set(Entry.objects.exclude(model="").order_by().values_list("model", flat=True).distinct())
    if model_of(wanted):
        kinds.add(wanted)
    return sorted(((kind, kind_name(kind)) for kind in kinds), key=lambda choice: choice[1].casefold())


class EntryFilter(django_filters.FilterSet):
    who = django_filters.CharFilter("who", lookup_expr="istartswith", max_length=150, label=_("Who"))
    act = django_filters.ChoiceFilter(choices=act_choices, label=_("Act"), empty_label=_("Any"))
    model = django_filters.ChoiceFilter(label=_("Kind of object"), empty_label=_("Any"))
    key = django_filters.CharFilter("key", max_length=255, label=_("Key"))
    since = DayFilter("at", label=_("Since"))
    until = DayFilter("at", until=True, label=_("Until"))

    class Meta:
        model = Entry
        fields: list[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters["model"].extra["choices"] = kind_choices(self.data.get("model", ""))


def midnight(day: datetime.date) -> datetime.datetime:
    """The moment at which a day starts, in UTC."""
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC)
