"""What the log can be searched by: named filters only."""

from __future__ import annotations

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _

from audit.models import Act, Entry


class DayFilter(django_filters.DateFilter):
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, widget=forms.DateInput(attrs={"type": "date"}), **kwargs)


class EntryFilter(django_filters.FilterSet):
    who = django_filters.CharFilter("who", lookup_expr="istartswith", max_length=150, label=_("Who"))
    act = django_filters.ChoiceFilter(choices=Act.choices, label=_("Act"), empty_label=_("Any"))
    model = django_filters.CharFilter("model", lookup_expr="istartswith", max_length=200, label=_("Kind of object"))
    key = django_filters.CharFilter("key", max_length=255, label=_("Key"))
    since = DayFilter("at", lookup_expr="date__gte", label=_("Since"))
    until = DayFilter("at", lookup_expr="date__lte", label=_("Until"))

    class Meta:
        model = Entry
        fields: list[str] = []
