"""`{% load sync_humanize %}`: filters for numbers, durations and times."""

import datetime

from django import template
from django.utils.html import format_html

from sync.core import humanize

register = template.Library()
register.filter(humanize.number)


@register.filter
def duration(seconds: float | None) -> str:
    """Return humanize.duration with no-break spaces."""
    return _unbroken(humanize.duration(seconds))


@register.filter
def moment(value: datetime.datetime | None) -> str:
    """Return a <time> with humanize.recent in the current zone, which is named; "never" for None."""
    text = _unbroken(humanize.recent(value))
    return text if value is None else format_html('<time datetime="{}">{}</time>', value.isoformat(), text)


@register.filter
def table_label(label: str) -> str:
    """Return the model's label of a target's label, such as finance.account for finance.account@eu:accounts."""
    return label.partition("@")[0]


def _unbroken(text: str) -> str:
    return text.replace(" ", "\u00a0")
