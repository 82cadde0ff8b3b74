"""Writes rows that Django would reject."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


@contextmanager
def lax() -> Iterator[Any]:
    """Yield a cursor that accepts invalid dates, and skips constraints where the database allows it."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            usual, loose = "PRAGMA ignore_check_constraints = 0", "PRAGMA ignore_check_constraints = 1"
        else:
            checks = ["foreign_key_checks"]
            if connection.mysql_is_mariadb:  # type: ignore[attr-defined]
                checks.append("check_constraint_checks")
            cursor.execute("SELECT @@SESSION.sql_mode")
            [(mode,)] = cursor.fetchall()
            usual = f"SET SESSION sql_mode = '{mode}', " + ", ".join(f"{check} = 1" for check in checks)
            loose = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', " + ", ".join(f"{check} = 0" for check in checks)
        cursor.execute(loose)
        try:
            yield cursor
        finally:
            cursor.execute(usual)
