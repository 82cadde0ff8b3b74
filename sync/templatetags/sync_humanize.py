"""`{% load sync_humanize %}`: filters for numbers, durations and times."""

import datetime

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime

from sync.core import humanize

register = template.Library()
register.filter(naturaltime)  # a project need not install django.contrib.humanize
register.filter(humanize.number)


@register.filter
def duration(seconds: float | None) -> str:
    """Return humanize.duration with no-break spaces."""
    return _unbroken(humanize.duration(seconds))


@register.filter
def moment(value: datetime.datetime | None) -> str:
    """Return humanize.moment with no-break spaces."""
    return _unbroken(humanize.moment(value))


@register.filter
def clock(value: datetime.datetime) -> str:
    """Return humanize.clock with no-break spaces."""
    return _unbroken(humanize.clock(value))


@register.filter
def table_label(label: str) -> str:
    """Return the model's label of a target's label, such as finance.account for finance.account@eu:accounts."""
    return label.partition("@")[0]


def _unbroken(text: str) -> str:
    return text.replace(" ", "\u00a0")
