"""Number formats of pages. An unknown number is a dash, never zero."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import template

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
    return f"{value:,.{digits}f}".replace("-", MINUS)


@register.filter
def percent(value: float | None) -> str:
    """A change with its sign."""
    return UNKNOWN if value is None else f"{value:+,.1f} %".replace("-", MINUS)


@register.filter
def large(value: Any) -> str:
    """Shortened for a quick look: 12.3 M."""
    if value is None:
        return UNKNOWN
    number = float(value)
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(number) >= unit:
            return f"{number / unit:,.1f} {name}".replace("-", MINUS)
    return figure(int(number))
