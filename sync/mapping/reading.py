"""Reads rows exactly: a row has what its columns hold, or says which of them Python cannot hold.

Drivers and Django's converters alter some values silently: an invalid date becomes None, a TIME loses its sign, a
BooleanField reads 2 as true, `1e400` in JSON becomes infinity. A comparison through the same converters sees no
difference. So the mirror reads rows with `exact` querysets: each value is read separately (columns.py), and one that
cannot be read becomes an `Unreadable`, the column's text with the reason. `sync verify --strict` proves this without
driver and converters (verification/strict.py).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from django.db import connections, models
from django.db.models.expressions import Col, RawSQL
from django.db.models.query import ModelIterable
from django.db.models.sql import Query
from django.db.models.sql.constants import CURSOR, MULTI

from sync.mapping.columns import JSON_NULL, exact_values, reader
from sync.mapping.unreadable import Unreadable

Rows = TypeVar("Rows", bound="models.QuerySet[Any]")

FLOAT = 4  # MySQL's number of the column type FLOAT in a result's description
NOTHING: Mapping[str, str] = MappingProxyType({})


def exact(queryset: Rows) -> Rows:
    """The same rows, read exactly.

    Each row has `unreadable`, which says by field name why a column cannot be read (empty if all can); those attributes
    hold the column's text. `json_nulls` has the names of fields whose column holds JSON's `null`. Lists of values have
    an `Unreadable` in place of what cannot be read.
    """
    rows: Any = queryset.all()
    rows.query = rows.query.chain(_Query)
    if rows._iterable_class is ModelIterable:
        rows._iterable_class = _Instances
    return rows


def by_key(model: type[models.Model], keys: Collection[str], using: str) -> dict[str, Any]:
    """The rows with these keys, read exactly, by key as given. One query, compiled by the ORM once per process."""
    read = values_by_key(model, keys, using)
    return {key: _with_notes(model.from_db(using, read.names, values)) for key, values in read.rows.items()}


class Read(NamedTuple):
    """Values of rows: the attributes that they belong to, and the values by key, in this order."""

    names: list[str]
    rows: dict[str, Sequence[Any]]


def values_by_key(model: type[models.Model], keys: Collection[str], using: str) -> Read:
    """The values of the rows with these keys, read exactly, by key as given.

    An `Unreadable` is in place of a value that cannot be read, and JSON_NULL in place of JSON's null.
    """
    pk: Any = model._meta.pk
    connection: Any = connections[using]
    meant = {key: pk.to_python(key) for key in keys}
    values = [pk.get_db_prep_value(value, connection) for value in meant.values()]
    for _ in range(2):
        plan = _plan(model, using)
        with exact_values(connection), connection.cursor() as cursor:
            cursor.execute(f"{plan.select} IN ({', '.join(['%s'] * len(values))})", values)
            if plan.compiler.meets_floats(cursor):
                _plan.cache_clear()
                continue
            found = cursor.fetchall()
        by_pk = {str(row[plan.pk]): row for row in plan.convert(found, connection)}
        rows = {key: by_pk[text] for key, value in meant.items() if (text := str(value)) in by_pk}
        return Read(plan.names, rows)
    raise AssertionError("a column is FLOAT in one statement only")


def literal(field: Any, key: Any) -> Any:
    """A key to look up rows by: the field's value, or for a text that is not one, the text as the database has it."""
    while field.remote_field:
        field = field.target_field
    if type(key) is not Unreadable:
        try:
            return field.to_python(key)
        except Exception:  # noqa: S110 (a field's to_python may raise anything)
            pass
    return RawSQL("%s", (str(key),))


def unreadable(row: models.Model) -> dict[str, str]:
    """By field name, why a column of this row cannot be read; for rows that `exact` or `by_key` has read."""
    held = row.__dict__
    found = {}
    for name, attname in _names(type(row)):
        value = held.get(attname)
        if type(value) is Unreadable:
            found[name] = value.why
    return found


@functools.cache
def _names(model: type[models.Model]) -> list[tuple[str, str]]:
    return [(field.name, field.attname) for field in model._meta.concrete_fields]


def _with_notes(row: Any) -> Any:
    """Sets `unreadable` and `json_nulls` on the row if they differ from MirroredModel's empty defaults."""
    kinds = set(map(type, row.__dict__.values()))
    if Unreadable in kinds or not hasattr(row, "unreadable"):
        row.unreadable = unreadable(row)
    if type(JSON_NULL) in kinds:
        held = row.__dict__
        row.json_nulls = [field.name for field in row._meta.concrete_fields if held.get(field.attname) is JSON_NULL]
        for name in row.json_nulls:
            setattr(row, name, None)
    return row


class _Instances(ModelIterable):
    def __iter__(self) -> Iterator[Any]:
        return map(_with_notes, super().__iter__())


class _Query(Query):
    def get_compiler(self, using: Any = None, connection: Any = None, elide_empty: bool = True) -> Any:
        connection = connection or connections[using]
        return _compiler(connection.ops.compiler(self.compiler))(self, connection, using, elide_empty)


@functools.cache
def _compiler(base: type) -> Any:
    return type("ExactCompiler", (_Exactly, base), {})


# Columns of MySQL's type FLOAT found so far, as (alias, table, column): their text is rounded, so they are cast.
_FLOATS: set[tuple[Any, ...]] = set()


class _Exactly:
    """A mixin for an SQL compiler: selects columns unaltered and guards their conversion.

    mypy does not know the compiler behind `super()`, which differs for each database.
    """

    connection: Any
    query: Any
    select: Any
    col_count: Any
    has_extra_select: Any

    def get_select(self, *args: Any, **kwargs: Any) -> Any:
        select, klass_info, annotations = super().get_select(*args, **kwargs)  # type: ignore[misc]
        return [(col, self._phrase(col, *sql), alias) for col, sql, alias in select], klass_info, annotations

    def _phrase(self, column: Any, sql: str, params: Any) -> tuple[str, Any]:
        if isinstance(column, Col):
            if self.connection.vendor == "sqlite":
                return f"+{sql}", params  # an expression has no declared type by which the driver would convert it
            if (self.connection.alias, column.target.model._meta.db_table, column.target.column) in _FLOATS:
                return f"CAST({sql} AS DOUBLE)", params
        return sql, params

    def execute_sql(self, result_type: Any = MULTI, chunked_fetch: bool = False, chunk_size: int = 100) -> Any:
        with exact_values(self.connection):
            if result_type != MULTI:
                return super().execute_sql(result_type, chunked_fetch, chunk_size)  # type: ignore[misc]
            cursor = super().execute_sql(CURSOR)  # type: ignore[misc]
            if cursor is not None and self.meets_floats(cursor):
                cursor = super().execute_sql(CURSOR)  # type: ignore[misc]
            if cursor is None:  # the query cannot have a result
                return []
            with cursor:
                rows = cursor.fetchall()
        return [[row[: self.col_count] for row in rows] if self.has_extra_select else rows]

    def meets_floats(self, cursor: Any) -> bool:
        """Whether the result has columns of type FLOAT that were not cast; the next statement casts them."""
        if self.connection.vendor != "mysql":
            return False
        met = {
            (self.connection.alias, column.target.model._meta.db_table, column.target.column)
            for (column, _, _), described in zip(self.select, cursor.description, strict=False)
            if described[1] == FLOAT and isinstance(column, Col)
        }
        _FLOATS.update(met)
        return bool(met)

    def get_converters(self, expressions: Any) -> Any:
        converters = super().get_converters(expressions)  # type: ignore[misc]
        return {
            place: ([reader(expression, converters.get(place, ([], None))[0], self)], expression)
            for place, expression in enumerate(expressions)
            if place in converters or isinstance(expression, Col)
        }


class _Plan:
    """The SELECT of a model's rows by key, complete except for the number of keys."""

    def __init__(self, model: type[models.Model], using: str) -> None:
        connection = connections[using]
        name = connection.ops.quote_name
        self.compiler = exact(models.QuerySet(model, using=using)).query.get_compiler(using)
        sql, _ = self.compiler.as_sql()
        pk: Any = model._meta.pk
        self.select = f"{sql} WHERE {name(model._meta.db_table)}.{name(pk.column)}"
        columns = [column for column, _, _ in self.compiler.select]
        self.converters = self.compiler.get_converters(columns)
        self.names = [column.target.attname for column in columns]
        self.pk = self.names.index(pk.attname)

    def convert(self, rows: Sequence[Any], connection: Any) -> Iterable[Any]:
        """The rows with converted values; column by column, because row by row takes twice as long."""
        columns = list(zip(*rows, strict=True))
        for place, ([read], expression) in self.converters.items():
            if columns:
                columns[place] = [read(value, expression, connection) for value in columns[place]]
        return zip(*columns, strict=True)


_plan: Any = functools.lru_cache(_Plan)
