"""Figures in words, for a terminal and for a page."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext


def counted(number: int, one: str, many: str) -> str:
    """Such as "1 change" and "1,200 changes"."""
    return f"{number:,} {ngettext(one, many, number)}"


def duration(seconds: float | None) -> str:
    """Such as 20 ms, 1.5 s, 12 min, 3 h, 2 days; "unknown" for None."""
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
    return counted(round(seconds / 86400), "day", "days")
