"""`MirroredModel`, the base class of mirrored models, and `Mirror`, which names their targets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from django.db import models, transaction

from sync.mapping import documents, reading
from sync.mapping.embeds import Embed
from sync.outbox import capture, parents


@dataclass(frozen=True)
class Mirror:
    """Where and how a model is mirrored.

    collection: its name in the database of MONGODB_URI.
    targets: where rows are delivered: empty for that collection, "other" for another one in the same database,
    "alias:other" for one in a database of SYNC_TARGETS, "kafka:" or "kafka:topic" to publish, "file:name" for a file.
    The mirror's own collection is delivered inline, the others by relays.
    exclude: names of fields that stay in SQL.
    extra: name of a DocumentField for what documents have beyond the model's fields.
    version: raise it when your `to_document` makes different documents than before; all are then delivered again.
    capture: False if only `sync follow-binlog` records changes, and the application records none.
    embed: rows of other tables that documents have inside. embed_in: the targets whose documents do; by default all.
    """

    collection: str
    targets: tuple[str, ...] = ("",)
    exclude: tuple[str, ...] = ()
    extra: str | None = None
    version: int = 1
    # Not part of the fingerprint of the mapping, which is the repr of the other options and, if any, the embeds.
    capture: bool = field(default=True, repr=False)
    embed: tuple[Embed, ...] = field(default=(), repr=False)
    embed_in: tuple[str, ...] | None = field(default=None, repr=False)


class Captured(models.Model):
    """A model whose saves, bulk writes and deletions record the documents that they concern."""

    captured: ClassVar[bool] = True
    objects: ClassVar[Any] = capture.MirroredManager()
    # Set by sync.mapping.reading: by field name, why a column cannot be read; and fields that hold JSON's null.
    unreadable: Mapping[str, str] = reading.NOTHING
    json_nulls: Collection[str] = ()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def _save_table(
        self, raw: bool = False, cls: Any = None, force_insert: Any = False, force_update: bool = False,
        using: Any = None, update_fields: Any = None,
    ) -> bool:  # fmt: skip
        # save(), create() and loaddata (which bypasses save()) all call this once for each table.
        unread = reading.unreadable(self) if self.unreadable else {}
        if still := [name for name in unread if update_fields is None or name in update_fields]:
            raise ValueError(f"{', '.join(still)} could not be read. Set a value before you save this row.")
        table: Any = cls or type(self)
        table = table._meta.concrete_model
        with transaction.atomic(using, savepoint=False):
            before = parents.before_save(table, self, using, force_insert, update_fields)
            saved = super()._save_table(raw, cls, force_insert, force_update, using, update_fields)  # type: ignore[misc]  # private to Django
            # In multi-table inheritance a parent's row is saved before the child knows its key.
            key = getattr(self, table._meta.pk.attname)
            after = parents.after_save(table, self, using, update_fields)
            capture.record_rows(table, [key], using, before, after, written=update_fields)
        return saved


class Embedded(Captured):
    """A model without a collection of its own, whose rows other models' documents embed: see `Mirror(embed=...)`.

    Inherit `Meta`, as with MirroredModel.
    """

    class Meta(Captured.Meta):
        abstract = True


class MirroredModel(Captured):
    """A model whose every committed row is mirrored to a document in MongoDB.

    Declare `mirror = Mirror("collection")` and inherit `Meta`. Saving and deleting record a change in the row's
    transaction; delivery follows the commit.
    """

    mirror: ClassVar[Mirror]

    class Meta(Captured.Meta):
        abstract = True

    def to_document(self) -> dict[str, Any]:
        """This row's document. Override it together with `from_document` for documents of another shape."""
        return documents.to_document(self)

    to_document.is_default = True  # type: ignore[attr-defined]  # read by documents.has_own_mapping

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The unsaved row for a document. Raises MappingError with the reason if there is none."""
        return documents.from_document(cls, document)
