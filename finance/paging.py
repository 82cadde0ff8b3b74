"""Pages of a sorted list that stay where they are while rows come and go, and cost the same at any depth.

A page is found by the sort values of the row before it (keyset pagination): nothing is counted and nothing skipped.
The values travel in the address, signed, so that they are never anything but what a page of this list had.
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
CHUNK = 1000  # rows that an export reads at once


@dataclass(frozen=True)
class Order:
    """Sort fields with the key as the last, all in one direction. `name` is how the address calls it."""

    name: str
    fields: tuple[str, ...]
    descending: bool

    def apply(self, records: QuerySet, *, backwards: bool = False) -> QuerySet:
        sign = "-" if self.descending != backwards else ""
        return records.order_by(*(sign + name for name in self.fields))

    def beyond(self, values: list[Any], *, backwards: bool = False) -> Q:
        """What comes after the row with these values; before it, when `backwards`."""
        comparison = "lt" if self.descending != backwards else "gt"
        # The first condition is implied by the second, and is the one that an index serves.
        condition, equal = Q(), Q()
        for name, value in zip(self.fields, values, strict=True):
            condition |= equal & _compared(name, comparison, value)
            equal &= _compared(name, "exact", value)
        return _compared(self.fields[0], comparison + "e", values[0]) & condition


@dataclass(frozen=True)
class Page:
    """Records, and the cursors of the pages around them; None where there is none."""

    records: list[Any]
    previous: str | None
    next: str | None


def page_of(records: QuerySet, order: Order, *, after: str = "", before: str = "", size: int = PAGE) -> Page:
    """The page after or before a cursor. The first page for a cursor that is none, or that leads to nothing."""
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
    """As many as are asked for, within reason."""
    return max(min(int(asked), LARGEST_PAGE), 1) if asked.isdecimal() and len(asked) < 10 else PAGE


def all_of(records: QuerySet, order: Order) -> Iterator[Any]:
    """Every record in this order, read in chunks: no more than one of them is in memory."""
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
    found = {row.pk: row for row in records.filter(pk__in=[_as_stored(key[-1]) for key in keys])}
    return [found[key[-1]] for key in keys if key[-1] in found]  # one may have gone meanwhile


def _comparable(model: type[Model], order: Order, values: tuple[Any, ...]) -> list[Any]:
    """What a row's sort values are compared with: themselves, but for one that cannot be read (None in a cursor).

    That one the database takes from the row itself: no text for it is a value to every server.
    """
    *others, key = values
    itself: Any = QuerySet(model).filter(pk=_as_stored(key))
    return [
        Subquery(itself.values(name)[:1]) if value is None or isinstance(value, Unreadable) else value
        for name, value in zip(order.fields, others, strict=False)
    ] + [_as_stored(key)]


def _compared(name: str, comparison: str, value: Any) -> Q:
    """The condition that a column is less than, equal to or greater than a value.

    MySQL takes an invalid date from a subquery for NULL. As texts, such dates compare as they are sorted.
    """
    if isinstance(value, Subquery) and connection.vendor == "mysql" and isinstance(value.output_field, DateField):
        column = Cast(name, CharField())
        return Q(column.get_lookup(comparison)(column, Cast(value, CharField())))  # type: ignore[misc]
    return Q((f"{name}__{comparison}", value))


def _as_stored(key: Any) -> Any:
    """A key to compare with, unaltered: an ObjectIdField would look for a key in capitals by small letters."""
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
