"""SQL that writes what Django would refuse, for the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


@contextmanager
def lax() -> Iterator[Any]:
    """A cursor of a session that takes invalid dates, and looks at no constraint where the database can be told so."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = 1")
            yield cursor
            cursor.execute("PRAGMA ignore_check_constraints = 0")
            return
        checks = "foreign_key_checks"
        if connection.mysql_is_mariadb:  # type: ignore[attr-defined]
            checks += " = {0}, check_constraint_checks"
        checks += " = {0}"
        cursor.execute("SELECT @@SESSION.sql_mode")
        [(mode,)] = cursor.fetchall()
        cursor.execute("SET SESSION sql_mode = 'ALLOW_INVALID_DATES', " + checks.format(0))
        yield cursor
        cursor.execute("SET SESSION sql_mode = %s, " + checks.format(1), [mode])


def damage(table: str, column: str, value: Any) -> None:
    """Writes a value into a column of all rows of a table."""
    with lax() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s", [value])
