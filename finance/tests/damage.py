"""SQL that damages rows, for the tests."""

from typing import Any

from sync.tests.support.lax import lax


def damage(table: str, column: str, value: Any) -> None:
    """Sets a column to this value in all rows of a table."""
    with lax() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s", [value])
