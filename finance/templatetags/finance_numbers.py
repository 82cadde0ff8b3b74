"""Formats of numbers and days on pages. An unknown number is a dash, never zero."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from django import template
from django.utils.html import format_html

from sync.core import humanize
from sync.core.humanize import grouped

UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

register = template.Library()


@register.filter
def figure(value: Any) -> str:
    """With thousands separators; large amounts of money without fractions."""
    if value is None:
        return UNKNOWN
    if not isinstance(value, (int, float, Decimal)):
        return str(value)
    digits = 2 if not isinstance(value, int) and 0 < abs(float(value)) < 1000 else 0
    return grouped(value, digits).replace("-", MINUS)


@register.filter
def day(value: Any) -> str:
    """The date of a moment, in UTC; empty for a value that is no moment."""
    return humanize.day(value) if isinstance(value, datetime.datetime) else ""


@register.filter
def percent(value: float | None) -> str:
    """A change with its sign."""
    return UNKNOWN if value is None else f"{grouped(value, 1, sign='+')} %".replace("-", MINUS)


@register.filter
def arrow(value: float) -> str:
    """The direction of a change, for the eye; the sign of its percentage says the same."""
    sign = "▲" if value > 0 else "▼" if value < 0 else "■"
    return format_html('<span aria-hidden="true">{}</span>', sign)


@register.filter
def large(value: Any) -> str:
    """Shortened for a quick look: 12.3 M."""
    if value is None:
        return UNKNOWN
    number = float(value)
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(number) >= unit:
            return f"{grouped(number / unit, 1)} {name}".replace("-", MINUS)
    return figure(int(number))
