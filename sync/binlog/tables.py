"""The tables that are followed, and how the key of a logged row is read."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import models

from sync.mapping.documents import pk_of
from sync.mapping.registry import label, mirrored_models


class Table(NamedTuple):
    """A mirrored table: its model's label, its key column, and the function that turns a logged value into key text."""

    label: str
    column: str
    to_text: Callable[[Any], str]


def mirrored_tables() -> dict[str, Table]:
    """Returns the mirrored tables by name."""
    return {
        model._meta.db_table: Table(label(model), pk_of(model).column, _to_text(pk_of(model)))
        for model in mirrored_models()
    }


def _to_text(field: Any) -> Callable[[Any], str]:
    while field.remote_field:
        field = field.target_field
    if isinstance(field, models.UUIDField):
        return _uuid
    return lambda value: str(field.to_python(value))


def _uuid(value: Any) -> str:
    """Returns a UUID as text. MySQL logs 32 digits; MariaDB logs 16 bytes without the trailing zero bytes."""
    return str(uuid.UUID(bytes=value.ljust(16, b"\0")) if isinstance(value, bytes) else uuid.UUID(value))
