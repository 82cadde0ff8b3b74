"""SQL that spoils rows, for the tests."""

from typing import Any

from sync.tests.support.lax import lax


def damage(table: str, column: str, value: Any) -> None:
    """Writes a value into a column of all rows of a table."""
    with lax() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s", [value])
