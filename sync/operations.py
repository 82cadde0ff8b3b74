"""Operations for an application's migrations."""

from __future__ import annotations

import logging
from typing import Any

import bson
from bson import Decimal128
from django.db import models, router, transaction
from django.db.migrations.operations.base import Operation
from django.utils.translation import ngettext

from sync.mapping.bson_options import CODEC_OPTIONS
from sync.mapping.diff import LENIENT
from sync.mapping.documents import known_codec
from sync.mapping.reading import exact, literal

logger = logging.getLogger(__name__)

CHUNK = 1000  # rows read at a time


class MoveFromExtra(Operation):
    """Moves the values that documents have under a field's name from `extra` into the field's column.

    For a migration that adds a field which documents already have: put it after the AddField. A value that the column
    cannot hold exactly stays in `extra`, and its document stays unchanged. If the column has another value, for example
    its default, the row becomes a dead letter that says so.
    model, field, extra: names. Backwards, all values of the column move back to `extra`, except for rows whose value
    stayed there.
    """

    reduces_to_sql = False
    reversible = True

    def __init__(self, model: str, field: str, extra: str = "extra") -> None:
        self.model = model
        self.field = field
        self.extra = extra

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models do not change."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model, field = self._model(app_label, schema_editor, to_state)
        if model is None:
            return
        using = schema_editor.connection.alias
        left = 0
        for row in self._rows(model, using):
            others = getattr(row, self.extra)
            if not isinstance(others, dict) or others.get(field.attname) is None:
                continue
            rest = {name: item for name, item in others.items() if name != field.attname}
            try:
                with transaction.atomic(using):
                    value = field.clean(known_codec(field).from_bson(others[field.attname]), row)
                    self._write(model, using, row, {field.attname: value, self.extra: rest})
                    self._require_kept(model, using, row, field, others[field.attname])
            except (
                Exception
            ) as error:  # a field's own methods and the server may raise anything; the other rows continue
                left += 1
                self._stays(row, error)
        if left:
            logger.error(
                ngettext(
                    "%d row of %s keeps its %s in %s, because the column cannot hold it. "
                    "If the column has a value of its own, the row is not delivered.",
                    "%d rows of %s keep their %s in %s, because the column cannot hold it. "
                    "Where the column has a value of its own, the row is not delivered.",
                    left,
                ),
                left, model._meta.label, self.field, self.extra,
            )  # fmt: skip

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model, field = self._model(app_label, schema_editor, from_state)
        if model is None:
            return
        using = schema_editor.connection.alias
        for row in self._rows(model, using):
            value, others = getattr(row, field.attname), getattr(row, self.extra)
            if value is None or not isinstance(others, dict):
                continue
            try:
                if others.get(field.attname) is not None:
                    raise ValueError("its value was never moved")
                if field.name in row.unreadable:
                    raise ValueError(row.unreadable[field.name])
                with transaction.atomic(using):
                    put_back = {**others, field.attname: self._stored(field, value)}
                    self._write(model, using, row, {self.extra: put_back})
            except Exception as error:  # the other rows continue
                self._stays(row, error)

    def describe(self) -> str:
        return f"Move {self.field} of {self.model} from {self.extra} into its column"

    def _model(self, app_label: str, schema_editor: Any, state: Any) -> tuple[Any, Any]:
        model = state.apps.get_model(app_label, self.model)
        if not router.allow_migrate_model(schema_editor.connection.alias, model):
            return None, None
        return model, model._meta.get_field(self.field)

    @staticmethod
    def _rows(model: Any, using: str) -> Any:
        """Yields all rows in order of the key, a chunk at a time."""
        rows: Any = exact(models.QuerySet(model, using=using)).order_by("pk")
        last: Any = None
        while chunk := list((rows if last is None else rows.filter(pk__gt=literal(model._meta.pk, last)))[:CHUNK]):
            yield from chunk
            last = chunk[-1].pk

    @staticmethod
    def _write(model: Any, using: str, row: Any, values: dict[str, Any]) -> None:
        # A plain queryset: after the migration the mapping is another one, and all rows are delivered anyway.
        models.QuerySet(model, using=using).filter(pk=literal(model._meta.pk, row.pk)).update(**values)

    def _require_kept(self, model: Any, using: str, row: Any, field: Any, wanted: Any) -> None:
        """Checks that the document stays the same, whatever the column makes of the value (JSON may sort keys)."""
        rows: Any = exact(models.QuerySet(model, using=using)).filter(pk=literal(model._meta.pk, row.pk))
        found = self._stored(field, rows.values_list(field.attname, flat=True).get())
        if isinstance(found, Decimal128) and isinstance(wanted, Decimal128):
            is_same = found.to_decimal() == wanted.to_decimal()  # a column has the same number of digits for each value
        else:
            is_same = _encode(found) == _encode(wanted)
        if not is_same:
            raise ValueError("the column would change the value")

    @staticmethod
    def _stored(field: Any, value: Any) -> Any:
        """The document's value for the column's value, made of types that `extra` accepts."""
        return bson.decode(_encode(known_codec(field).to_bson(value)), codec_options=LENIENT)[""]

    def _stays(self, row: Any, error: Exception) -> None:
        logger.warning("%s %s keeps its %s in %s: %s", row._meta.label, row.pk, self.field, self.extra, error)


def _encode(value: Any) -> bytes:
    return bson.encode({"": value}, codec_options=CODEC_OPTIONS)
