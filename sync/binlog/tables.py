"""The tables that are followed, and how a row in the binary log says which key it has."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.db import models

from sync.registry import label, mirrored_models

# Statements that change rows without naming them. Columns that come or go are a migration's matter, which plans its
# own backfill. INSERT and its like are here only when somebody's session logs statements instead of rows.
REWRITES = re.compile(
    r"(?:\s|/\*.*?\*/)*(?:TRUNCATE|DROP\s+TABLE|RENAME\s+TABLE|CREATE\s+OR\s+REPLACE|INSERT|UPDATE|DELETE|REPLACE|LOAD|WITH"
    r"|ALTER\s.*\b(?:MODIFY|CHANGE|CONVERT|PARTITION|RENAME)\b)\b",
    re.IGNORECASE | re.DOTALL,
)


class Table(NamedTuple):
    """A mirrored table: its model's label, the column of its key, and how a logged value becomes the key's text."""

    label: str
    column: str
    to_text: Callable[[Any], str]


def mirrored_tables() -> dict[str, Table]:
    """By name."""
    return {
        model._meta.db_table: Table(label(model), model._meta.pk.column, _to_text(model._meta.pk))  # type: ignore[union-attr, arg-type]
        for model in mirrored_models()
    }


def _to_text(field: Any) -> Callable[[Any], str]:
    while field.remote_field:
        field = field.target_field
    if isinstance(field, models.UUIDField):
        return _uuid
    return lambda value: str(field.to_python(value))


def _uuid(value: Any) -> str:
    """MySQL keeps 32 digits; MariaDB 16 bytes, and its log leaves out those at the end that are zero."""
    return str(uuid.UUID(bytes=value.ljust(16, b"\0")) if isinstance(value, bytes) else uuid.UUID(value))


class Statements:
    """Which mirrored tables a logged statement has rewritten."""

    def __init__(self, database: str, tables: Iterable[str]) -> None:
        self.database = database
        self.mentions = re.compile(rf"(?<![\w$])({'|'.join(map(re.escape, tables))})(?![\w$])", re.IGNORECASE)
        self.names_database = re.compile(rf"(?<![\w$]){re.escape(database)}(?![\w$])", re.IGNORECASE)

    def rewritten(self, schema: str, statement: str) -> set[str]:
        """Names of tables, in lower case. schema: the database that was in use."""
        if not REWRITES.match(statement):
            return set()
        if schema != self.database and not self.names_database.search(statement):
            return set()
        return {name.lower() for name in self.mentions.findall(statement)}
