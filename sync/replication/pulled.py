"""`PulledModel`, for data whose main database is MongoDB: its table is kept in sync with a collection.

Only `manage.py sync pull` writes its rows. Every other write through the ORM raises ReadOnlyError: the next change of
the document would overwrite it, and until then the two databases would differ.
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
    """The collection that a model's rows come from.

    collection: its name in the database of MONGODB_URI.
    exclude: names of model fields that documents do not have; pulled rows get the default.
    extra: name of a DocumentField that stores the document's fields that are not fields of the model. Without it, a
        document with an unknown field becomes a dead letter.
    """

    collection: str
    exclude: tuple[str, ...] = ()
    extra: str | None = None


class ReadOnlyError(TypeError):
    """The application tried to write a row of a pulled model. The message says where to change the data instead."""


def refuse(model: Any) -> NoReturn:
    """Raises ReadOnlyError."""
    raise ReadOnlyError(
        f"{model._meta.label} comes from the MongoDB collection {model.source.collection}: change the document there, "
        "and `manage.py sync pull` changes the row."
    )


class PulledQuerySet(models.QuerySet):
    """A queryset that only reads. get_or_create() and similar methods call save(), which raises as well."""

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

    delete.queryset_only = True  # type: ignore[attr-defined]  # Django reads it when it builds a manager


class PulledManager(models.Manager.from_queryset(PulledQuerySet)):  # type: ignore[misc]  # a base made at run time
    """The default manager of pulled models. Define your own with `PulledManager.from_queryset(...)`."""


class PulledModel(models.Model):
    """Base class of models whose rows come from a collection. Set `source = Source("collection")`, inherit `Meta`."""

    source: ClassVar[Source]
    objects: ClassVar[Any] = PulledManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
        default_permissions = ("view",)

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        refuse(type(self))

    def _save_table(self, *args: Any, **kwargs: Any) -> bool:
        refuse(type(self))  # loaddata calls Model.save_base() directly

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        refuse(type(self))

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Returns the row for a document, by the types in sync/mapping/documents.py. Override it for other structures.

        Raises an exception if the document does not fit: the document becomes a dead letter with that reason.
        """
        return documents.from_document(cls, document)


def _refuse_delete(sender: type[models.Model], **_: Any) -> None:
    refuse(sender)


def _watch_deletes(sender: type[models.Model], **_: Any) -> None:
    # Cascades call neither Model.delete() nor QuerySet.delete().
    if issubclass(sender, PulledModel) and not sender._meta.abstract:
        pre_delete.connect(_refuse_delete, sender=sender, dispatch_uid=f"sync.replication.pulled.{sender._meta.label}")


class_prepared.connect(_watch_deletes)


def pulled_models() -> list[type[PulledModel]]:
    """Returns every pulled model that has its own table."""
    return [model for model in apps.get_models() if issubclass(model, PulledModel) and not model._meta.proxy]
