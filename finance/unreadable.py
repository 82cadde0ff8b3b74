"""What a page says about stored values that cannot be read or have an unexpected type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from finance.models import Record
from sync.mapping.forms import DocumentFormField
from sync.mapping.unreadable import Unreadable
from sync.models import DocumentField

SHOWN = 100  # characters of a stored text in a cell


def problems(record: Record) -> dict[str, str]:
    """By field name, why the field is not shown normally. Deferred columns are not checked."""
    found = dict(record.unreadable)
    for field in record._meta.concrete_fields:
        if isinstance(field, DocumentField) and field.attname in record.__dict__ and field.name not in found:
            value, wanted = record.__dict__[field.attname], type(field.get_default())
            if not isinstance(value, wanted):
                found[field.name] = _("must be an %(wanted)s") % {"wanted": NAMES[wanted]}
    return found


NAMES: dict[Any, str] = {list: "array", dict: "object"}


def facts(record: Record) -> list[tuple[str, str, str]]:
    """(label, stored text, reason) of each problem, for the record's own page."""
    return [
        (str(getattr(record._meta.get_field(name), "verbose_name", name)), stored_text(record, name), why)
        for name, why in problems(record).items()
    ]


def stored_text(record: Record, name: str) -> str:
    """What the column holds, as text."""
    value = record.__dict__[record._meta.get_field(name).attname]  # type: ignore[union-attr]
    return str(value) if isinstance(value, Unreadable) else DocumentFormField().prepare_value(value)


def cell(value: Any) -> SafeString:
    """A table cell for a value that its column cannot show."""
    why = value.why if isinstance(value, Unreadable) else _("unexpected value")
    return format_html(
        '<span class="unreadable" title="{}"><span aria-hidden="true">⚠</span> {}</span>', why,
        Truncator(str(value)).chars(SHOWN) or _("empty"),
    )  # fmt: skip


def note(records: Iterable[Record]) -> str:
    """How many of these records could not be read in full; empty if all could."""
    return counted(sum(bool(problems(record)) for record in records))


def counted(count: int) -> str:
    if not count:
        return ""
    return ngettext(
        "%(count)d record could not be read in full.",
        "%(count)d records could not be read in full.",
        count,
    ) % {"count": count}


def exported(records: Iterable[Any], row: Callable[[Any], list[Any]]) -> Iterator[list[Any]]:
    """The cells of each record, then a line with the number of records that could not be read in full."""
    count = 0
    for record in records:
        count += bool(problems(record))
        yield row(record)
    if count:
        yield [counted(count)]
