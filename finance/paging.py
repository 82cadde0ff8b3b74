"""Pages of a sorted list that stay stable while rows come and go, and cost the same at any depth.

A page is found by the sort values of the row before it (keyset pagination): nothing is counted or skipped. The values
are signed in the URL, so they always come from a page of this list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import CharField, DateField, Model, Q, QuerySet, Subquery, Value
from django.db.models.functions import Cast

from sync.mapping.unreadable import Unreadable

PAGE = 25
LARGEST_PAGE = 100
SIZES = (PAGE, 50, LARGEST_PAGE)  # to choose from
CHUNK = 1000  # rows that an export reads at a time


@dataclass(frozen=True)
class Order:
    """Sort fields with the key as the last, all in one direction. `name` is its name in the URL."""

    name: str
    fields: tuple[str, ...]
    descending: bool

    def apply(self, records: QuerySet, *, backwards: bool = False) -> QuerySet:
        sign = "-" if self.descending != backwards else ""
        return records.order_by(*(sign + name for name in self.fields))

    def beyond(self, values: list[Any], *, backwards: bool = False) -> Q:
        """The rows after the row with these values, or before it if `backwards`."""
        comparison = "lt" if self.descending != backwards else "gt"
        # The first condition follows from the second one; the index serves it.
        condition, equal = Q(), Q()
        for name, value in zip(self.fields, values, strict=True):
            condition |= equal & _compared(name, comparison, value)
            equal &= _compared(name, "exact", value)
        return _compared(self.fields[0], comparison + "e", values[0]) & condition


@dataclass(frozen=True)
class Page:
    """Records, and the cursors of the previous and next page, None if there is none."""

    records: list[Any]
    previous: str | None
    next: str | None


def page_of(records: QuerySet, order: Order, *, after: str = "", before: str = "", size: int = PAGE) -> Page:
    """The page after or before a cursor. The first page if the cursor is invalid or leads to no rows."""
    cursor, backwards = (before, True) if before else (after, False)
    values = _read(records.model, order, cursor)
    keys: list[tuple[Any, ...]] = []
    if values is not None:
        beyond = records.filter(order.beyond(values, backwards=backwards))
        keys = _keys(beyond, order, size + 1, backwards=backwards)
    if not keys:
        values, backwards = None, False
        keys = _keys(records, order, size + 1)
    more = len(keys) > size
    keys = keys[:size]
    if backwards:
        keys.reverse()
    model = records.model
    return Page(
        records=_rows(records, keys),
        previous=_cursor(model, order, keys[0]) if keys and (more if backwards else values is not None) else None,
        next=_cursor(model, order, keys[-1]) if keys and (backwards or more) else None,
    )


def size_of_page(asked: str) -> int:
    """The requested size within its limits."""
    return max(min(int(asked), LARGEST_PAGE), 1) if asked.isdecimal() and len(asked) < 10 else PAGE


def chosen(records: QuerySet, keys: list[str]) -> QuerySet:
    """The records with these keys."""
    return records.filter(pk__in=[_as_stored(key) for key in keys])


def all_of(records: QuerySet, order: Order) -> Iterator[Any]:
    """Every record in this order, read in chunks: at most one chunk is in memory."""
    rest = records
    while keys := _keys(rest, order, CHUNK):
        yield from _rows(records, keys)
        if len(keys) < CHUNK:
            return
        rest = records.filter(order.beyond(_comparable(records.model, order, keys[-1])))


def _keys(records: QuerySet, order: Order, count: int, *, backwards: bool = False) -> list[tuple[Any, ...]]:
    """Sort values only: an index has them, and long columns are read for the rows of the page alone."""
    return list(order.apply(records, backwards=backwards).values_list(*order.fields)[:count])


def _rows(records: QuerySet, keys: list[tuple[Any, ...]]) -> list[Any]:
    found = {row.pk: row for row in chosen(records, [key[-1] for key in keys])}
    return [found[key[-1]] for key in keys if key[-1] in found]  # one may have been deleted meanwhile


def _comparable(model: type[Model], order: Order, values: tuple[Any, ...]) -> list[Any]:
    """The values to compare a row with: its own sort values, or None in the cursor for one that cannot be read.

    The database then takes that value from the row itself: there is no text for it that every server reads as a value.
    """
    *others, key = values
    itself: Any = QuerySet(model).filter(pk=_as_stored(key))
    return [
        Subquery(itself.values(name)[:1]) if value is None or isinstance(value, Unreadable) else value
        for name, value in zip(order.fields, others, strict=False)
    ] + [_as_stored(key)]


def _compared(name: str, comparison: str, value: Any) -> Q:
    """The condition that a column is less than, equal to or greater than a value.

    MySQL reads an invalid date from a subquery as NULL. Compared as text, such dates have the order they are sorted in.
    """
    if isinstance(value, Subquery) and connection.vendor == "mysql" and isinstance(value.output_field, DateField):
        column = Cast(name, CharField())
        return Q(column.get_lookup(comparison)(column, Cast(value, CharField())))  # type: ignore[misc]
    return Q((f"{name}__{comparison}", value))


def _as_stored(key: Any) -> Any:
    """A key to compare with, unchanged: an ObjectIdField would convert a key in capitals to lowercase."""
    return Value(key, output_field=CharField())


def _field(model: type[Model], name: str) -> Any:
    return model._meta.get_field(name)


def _salt(model: type[Model], order: Order) -> str:
    return f"finance.paging {model._meta.label} {order.name}"


def _cursor(model: type[Model], order: Order, values: tuple[Any, ...]) -> str:
    texts = [
        None if isinstance(value, Unreadable) else value.isoformat() if hasattr(value, "isoformat") else str(value)
        for value in values
    ]
    return signing.dumps(texts, salt=_salt(model, order), compress=True)


def _read(model: type[Model], order: Order, cursor: str) -> list[Any] | None:
    if not cursor:
        return None
    try:
        texts = signing.loads(cursor, salt=_salt(model, order))
        *values, key = [
            text if text is None or name == "pk" else _field(model, name).to_python(text)
            for name, text in zip(order.fields, texts, strict=True)
        ]
        return _comparable(model, order, (*values, key))
    except (signing.BadSignature, ValidationError, ValueError):
        return None
