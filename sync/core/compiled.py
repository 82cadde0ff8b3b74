"""Statements that are compiled once: compiling takes ten times as long as MySQL needs for an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import QuerySet, Value
from django.db.models.sql import UpdateQuery


class Statement(NamedTuple):
    """A compiled statement. Values to replace later stand for themselves in the parameters.

    replaced: values by what stands for them in the compiled statement.
    """

    using: str
    sql: str
    params: tuple[Any, ...]

    @classmethod
    def select(cls, rows: QuerySet[Any]) -> Statement:
        """Compiles a query for values. `fetch` returns them as the driver reads them, without Django's converters."""
        return cls._of(rows.query, rows.db)

    @classmethod
    def exists(cls, rows: QuerySet[Any]) -> Statement:
        """Compiles the question whether there are such rows. `fetch` returns one row if there are."""
        return cls.select(rows.order_by().values_list(Value(1))[:1])

    @classmethod
    def update(cls, rows: QuerySet[Any], **values: Any) -> Statement:
        """Compiles an update of these rows. A value to replace later is a Value()."""
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(values)
        return cls._of(query, rows.db)

    @classmethod
    def _of(cls, query: Any, using: str) -> Statement:
        sql, params = query.get_compiler(using).as_sql()
        return cls(using, sql, tuple(params))

    def fetch(self, replaced: Mapping[Any, Any] | None = None) -> list[tuple[Any, ...]]:
        """Returns the rows."""
        with connections[self.using].cursor() as cursor:
            cursor.execute(self.sql, self._params(replaced))
            return list(cursor.fetchall())

    def run(self, replaced: Mapping[Any, Any] | None = None) -> int:
        """Returns how many rows it has found."""
        with connections[self.using].cursor() as cursor:
            cursor.execute(self.sql, self._params(replaced))
            return int(cursor.rowcount)

    def _params(self, replaced: Mapping[Any, Any] | None) -> list[Any]:
        return [replaced.get(value, value) for value in self.params] if replaced else list(self.params)
