"""Operations for an application's migrations."""

from __future__ import annotations

import logging
from typing import Any

from django.db import models, router
from django.db.migrations.operations.base import Operation
from django.utils.translation import ngettext

from sync.mapping import codec
from sync.reading import Unreadable, exact

logger = logging.getLogger(__name__)

CHUNK = 1000  # rows read at once


class MoveFromExtra(Operation):
    """Moves what documents have under a field's name from `extra` into the field's column.

    For a migration that adds a field which documents had before: put it after the AddField. A value that the column
    cannot hold stays in `extra`; its row becomes a dead letter that says so, and its document stays as it is.
    model, field, extra: names. Backwards, all values of the column are put back.
    """

    reduces_to_sql = False
    reversible = True

    def __init__(self, model: str, field: str, extra: str = "extra") -> None:
        self.model = model
        self.field = field
        self.extra = extra

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models stay as they are."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model, field = self._model(app_label, schema_editor, to_state)
        if model is None:
            return
        left = 0
        for row in self._rows(model, schema_editor.connection.alias):
            others = getattr(row, self.extra)
            if not isinstance(others, dict) or others.get(field.attname) is None:
                continue
            try:
                value = field.clean(codec(field).from_bson(others[field.attname]), row)  # type: ignore[union-attr]
            except Exception as error:  # a field's own methods may raise anything; the other rows go on
                left += 1
                logger.warning("%s %s keeps its %s in %s: %s", model._meta.label, row.pk, self.field, self.extra, error)
                continue
            rest = {name: item for name, item in others.items() if name != field.attname}
            self._write(model, schema_editor, row.pk, {field.attname: value, self.extra: rest})
        if left:
            logger.error(
                ngettext(
                    "%d row of %s keeps its %s in %s, because the column cannot hold it. It is not delivered.",
                    "%d rows of %s keep their %s in %s, because the column cannot hold it. They are not delivered.",
                    left,
                ),
                left, model._meta.label, self.field, self.extra,
            )  # fmt: skip

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model, field = self._model(app_label, schema_editor, from_state)
        if model is None:
            return
        for row in self._rows(model, schema_editor.connection.alias):
            value, others = getattr(row, field.attname), getattr(row, self.extra)
            if value is not None and isinstance(others, dict) and type(value) is not Unreadable:
                others = {**others, field.attname: codec(field).to_bson(value)}  # type: ignore[union-attr]
                self._write(model, schema_editor, row.pk, {self.extra: others})

    def describe(self) -> str:
        return f"Move {self.field} of {self.model} from {self.extra} into its column"

    def _model(self, app_label: str, schema_editor: Any, state: Any) -> tuple[Any, Any]:
        model = state.apps.get_model(app_label, self.model)
        if not router.allow_migrate_model(schema_editor.connection.alias, model):
            return None, None
        return model, model._meta.get_field(self.field)

    @staticmethod
    def _rows(model: Any, using: str) -> Any:
        """All rows in order of the key, a chunk at a time."""
        rows: Any = exact(models.QuerySet(model, using=using)).order_by("pk")
        last: Any = None
        while chunk := list((rows if last is None else rows.filter(pk__gt=last))[:CHUNK]):
            yield from chunk
            last = chunk[-1].pk

    @staticmethod
    def _write(model: Any, schema_editor: Any, pk: Any, values: dict[str, Any]) -> None:
        # A plain queryset: after the migration the mapping is another one, and all rows are delivered anyway.
        models.QuerySet(model, using=schema_editor.connection.alias).filter(pk=pk).update(**values)
