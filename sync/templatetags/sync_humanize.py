"""`{% load wording %}`: figures in words."""

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma, naturaltime

from sync.core import humanize

register = template.Library()
register.filter(intcomma)  # a project need not install django.contrib.humanize
register.filter(naturaltime)


@register.filter
def duration(seconds: float | None) -> str:
    """As wording.duration, in one piece when lines are broken."""
    return humanize.duration(seconds).replace(" ", "\u00a0")


@register.filter
def table_label(label: str) -> str:
    """The model's label in a target's."""
    return label.partition("@")[0]
