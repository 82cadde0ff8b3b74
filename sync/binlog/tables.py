"""The tables that are followed, and how keys are read from their logged rows."""

from __future__ import annotations

import functools
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from django.apps import apps
from django.db import models

from sync.mapping.documents import pk_of
from sync.mapping.embeds import Node
from sync.mapping.registry import Target, label, mirrored_models
from sync.outbox.parents import embeddings


class Reading(NamedTuple):
    """What a logged row of a table concerns, which one of its columns tells.

    label: of the model whose keys the column holds; or of a target and, after VIA, where its documents embed the rows
    whose keys the column holds. to_text: turns a logged value into key text. is_parent: whether the column is a foreign
    key, whose value may change.
    """

    label: str
    column: str
    to_text: Callable[[Any], str]
    is_parent: bool = False

    @property
    def model(self) -> str:
        """The label of the model whose documents the row concerns."""
        return self.label.partition(VIA)[0].partition("@")[0]


VIA = "#"
Tables = dict[str, tuple[Reading, ...]]  # by name


def followed_tables() -> Tables:
    """Returns the tables of mirrored models, and those whose rows their documents embed."""
    found: dict[str, dict[Reading, None]] = defaultdict(dict)
    for model in mirrored_models():
        found[model._meta.db_table][Reading(label(model), pk_of(model).column, _to_text(pk_of(model)))] = None
    for table in apps.get_models(include_auto_created=True):
        for target, node, column in embeddings(table._meta.concrete_model):
            found[table._meta.db_table][_embedded(target, node, column)] = None
    return {name: tuple(readings) for name, readings in found.items()}


def _embedded(target: Target, node: Node, column: Any) -> Reading:
    if column is None:  # others point to the row
        key = pk_of(node.model)
        return Reading(f"{target.label}{VIA}{node.path}", key.column, _to_text(key))
    to = f"{target.label}{VIA}{node.above.path}" if node.above else label(target.model)
    return Reading(to, column.column, _to_text(column), is_parent=True)


@functools.cache
def _to_text(field: Any) -> Callable[[Any], str]:
    while field.remote_field:
        field = field.target_field
    if isinstance(field, models.UUIDField):
        return _uuid
    return lambda value: str(field.to_python(value))


def _uuid(value: Any) -> str:
    """Returns a UUID as text. MySQL logs 32 digits; MariaDB logs 16 bytes without the trailing zero bytes."""
    return str(uuid.UUID(bytes=value.ljust(16, b"\0")) if isinstance(value, bytes) else uuid.UUID(value))
