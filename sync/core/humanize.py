"""Formats counts, numbers, durations and times, in the same way for the terminal and for pages."""

import datetime
from contextvars import ContextVar
from decimal import Decimal

from django.utils import timezone
from django.utils.formats import date_format, get_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

# The separators of thousands and of decimals that a user has chosen; None: those of the active language.
SEPARATORS: ContextVar[tuple[str, str] | None] = ContextVar("separators", default=None)


def grouped(value: float | Decimal, digits: int = 0, sign: str = "") -> str:
    """Return the number with separators, such as "1,234.50". `sign` is "+" to show it for positive numbers, too."""
    thousands, decimal = SEPARATORS.get() or (get_format("THOUSAND_SEPARATOR"), get_format("DECIMAL_SEPARATOR"))
    return f"{value:{sign},.{digits}f}".translate({ord(","): thousands, ord("."): decimal})


def counted(number: int, one: str, many: str) -> str:
    """Return the number with its noun, such as "1 change" or "1,200 changes"."""
    return f"{grouped(number)} {ngettext(one, many, number)}"


def number(value: float | None) -> str:
    """Return a count or a rate, such as "1,200", "12" or "0.5"; "unknown" for None."""
    if value is None:
        return _("unknown")
    return grouped(value) if isinstance(value, int) or value >= 10 else f"{value:.2g}"


def day(value: datetime.datetime) -> str:
    """Return a moment's date in UTC, as the active language writes dates: a business date is the same in every zone."""
    return date_format(value.astimezone(datetime.UTC).date(), "DATE_FORMAT")


def moment(value: datetime.datetime | None) -> str:
    """Return a time in the current zone, such as "2026-01-31 23:59:59 UTC"; "never" for None."""
    if value is None:
        return _("never")
    return f"{timezone.localtime(value):%Y-%m-%d} {clock(value)}"


def recent(value: datetime.datetime | None) -> str:
    """Return `clock` for a time of today in the current zone, and `moment` for others."""
    if value is not None and timezone.localdate(value) == timezone.localdate():
        return clock(value)
    return moment(value)


def clock(value: datetime.datetime) -> str:
    """Return the time of day in the current zone, such as "23:59:59 UTC" or "23:59:59 UTC+8"."""
    local = timezone.localtime(value)
    return f"{local:%H:%M:%S} {_zone(local)}"


def _zone(local: datetime.datetime) -> str:
    """Return the zone's abbreviation. Many zones have only an offset, such as "+08"; it becomes "UTC+8"."""
    name = f"{local:%Z}"
    if not name.startswith(("+", "-")):
        return name
    hours, minutes = name[1:3].lstrip("0") or "0", name[3:]
    return f"UTC{name[0]}{hours}" + (f":{minutes}" if minutes else "")


def duration(seconds: float | None) -> str:
    """Return a duration such as 20 ms, 1.5 s, 12 min, 3 h or 2 days; "unknown" for None."""
    if seconds is None:
        return _("unknown")
    if seconds < 1:
        return _("%(number)s ms") % {"number": f"{seconds * 1000:.0f}"}
    if seconds < 10:
        return _("%(number)s s") % {"number": f"{seconds:.1f}".removesuffix(".0")}
    if seconds < 120:
        return _("%(number)s s") % {"number": f"{seconds:.0f}"}
    if seconds < 7200:
        return _("%(number)s min") % {"number": f"{seconds / 60:.0f}"}
    if seconds < 2 * 86400:
        return _("%(number)s h") % {"number": f"{seconds / 3600:.0f}"}
    days = round(seconds / 86400)
    return ngettext("%(number)s day", "%(number)s days", days) % {"number": grouped(days)}
