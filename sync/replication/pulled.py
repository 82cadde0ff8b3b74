"""What an application uses for data whose main database is MongoDB: `PulledModel`, a table kept in sync with a
collection.

Only `manage.py sync pull` writes its rows. Any other write by the ORM is refused: the document's next change would
overwrite it, and until then both databases would disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self

from django.apps import apps
from django.db import models
from django.db.models.signals import class_prepared, pre_delete

from sync.core.querysets import alters_data
from sync.mapping import documents


@dataclass(frozen=True)
class Source:
    """Which documents a model's rows come from.

    collection: its name in the database of MONGODB_URI.
    exclude: names of fields that no document has; pulled rows have their defaults.
    extra: name of a DocumentField for what a document has beyond the model's fields. Without one, a document with an
    unknown field cannot be pulled.
    """

    collection: str
    exclude: tuple[str, ...] = ()
    extra: str | None = None


class ReadOnlyError(TypeError):
    """A row that comes from MongoDB cannot be changed in MySQL. The message says where to change it."""


def refuse(model: Any) -> NoReturn:
    """Raises ReadOnlyError."""
    raise ReadOnlyError(
        f"{model._meta.label} comes from the MongoDB collection {model.source.collection}: change the document there, "
        "and `manage.py sync pull` changes the row."
    )


class PulledQuerySet(models.QuerySet):
    """Reads like any queryset and refuses to write. get_or_create() and others call save()."""

    @alters_data
    def update(self, **kwargs: Any) -> int:
        refuse(self.model)

    @alters_data
    def bulk_create(self, *args: Any, **kwargs: Any) -> list[Any]:
        refuse(self.model)

    @alters_data
    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        refuse(self.model)

    @alters_data
    def delete(self) -> tuple[int, dict[str, int]]:
        refuse(self.model)

    delete.queryset_only = True  # type: ignore[attr-defined]  # read by Django, when it makes a manager


class PulledManager(models.Manager.from_queryset(PulledQuerySet)):  # type: ignore[misc]  # a base made at run time
    """The manager of pulled models. Create others with `PulledManager.from_queryset(...)`."""


class PulledModel(models.Model):
    """A model whose rows are a collection's documents. Declare `source = Source("collection")` and inherit `Meta`."""

    source: ClassVar[Source]
    objects: ClassVar[Any] = PulledManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
        default_permissions = ("view",)

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        refuse(type(self))

    def _save_table(self, *args: Any, **kwargs: Any) -> bool:
        refuse(type(self))  # loaddata calls the save_base() of Model itself

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        refuse(type(self))

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The row for a document, by the table of types in sync/mapping/documents.py. Override it for another shape.

        Raises an exception with the reason if there is no such row: the document becomes a dead letter with that
        reason.
        """
        return documents.from_document(cls, document)


def _refuse_delete(sender: type[models.Model], **_: Any) -> None:
    refuse(sender)


def _watch_deletes(sender: type[models.Model], **_: Any) -> None:
    # For cascades, which call neither model nor queryset.
    if issubclass(sender, PulledModel) and not sender._meta.abstract:
        pre_delete.connect(_refuse_delete, sender=sender, dispatch_uid=f"sync.replication.pulled.{sender._meta.label}")


class_prepared.connect(_watch_deletes)


def pulled_models() -> list[type[PulledModel]]:
    """Every pulled model with a table of its own."""
    return [model for model in apps.get_models() if issubclass(model, PulledModel) and not model._meta.proxy]
