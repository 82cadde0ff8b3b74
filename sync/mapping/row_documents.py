"""Documents of committed rows. No model instances are needed, unless the application takes part in making either."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.db import models
from django.db.models import signals
from django.db.models.fields.files import FileDescriptor, ImageFileDescriptor
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query_utils import DeferredAttribute

from sync.mapping.documents import MappingError, assemble, document_of, has_own_mapping, writers
from sync.mapping.reading import by_key, values_by_key
from sync.mapping.unreadable import Unreadable

# Attributes whose value is the column's. A file's is its name, which is what the document has.
PLAIN_ATTRIBUTES = {DeferredAttribute, ForeignKeyDeferredAttribute, FileDescriptor, ImageFileDescriptor}


def documents_by_key(model: Any, keys: Collection[str], using: str) -> dict[str, dict[str, Any] | Exception]:
    """The documents of the rows with these keys, by key as given; an exception in place of one that cannot be made.

    It is whatever the application's own `to_document` raises, otherwise a MappingError.
    """
    if not _is_plain(model):
        rows = by_key(model, keys, using)
        return {key: _outcome(document_of, row) for key, row in rows.items()}
    read = values_by_key(model, keys, using)
    document = _from_values(model, model.mirror, tuple(read.names))
    return {key: _outcome(document, values) for key, values in read.rows.items()}


def _outcome(make: Callable[[Any], dict[str, Any]], row: Any) -> dict[str, Any] | Exception:
    try:
        return make(row)
    except Exception as error:  # an application's own mapping may raise anything; the other rows continue
        return error


def _is_plain(model: Any) -> bool:
    """Whether the columns' values are all that documents depend on: the application neither maps rows nor takes part in
    making an instance.
    """
    own = has_own_mapping(model) or model.__init__ is not models.Model.__init__
    reads = model.from_db.__func__ is not models.Model.from_db.__func__  # type: ignore[attr-defined]
    is_observed = signals.pre_init.has_listeners(model) or signals.post_init.has_listeners(model)
    return not (own or reads or is_observed) and _has_plain_attributes(model)


@functools.cache
def _has_plain_attributes(model: Any) -> bool:
    attributes = (inspect.getattr_static(model, field.attname) for field in model._meta.concrete_fields)
    return all(type(each) in PLAIN_ATTRIBUTES for each in attributes)


@functools.lru_cache
def _from_values(model: Any, mirror: Any, names: tuple[str, ...]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """A function that makes the document of one row, whose values belong to the attributes with these names."""
    own = operator.itemgetter(*(names.index(attname) for _, attname, _ in writers(model, mirror)))
    is_one = len(writers(model, mirror)) == 1
    extra = names.index(model._meta.get_field(mirror.extra).attname) if mirror.extra else None
    fields = {field.attname: field.name for field in model._meta.concrete_fields if field.name not in mirror.exclude}
    read = [(place, fields[name]) for place, name in enumerate(names) if name in fields]

    def make(values: Sequence[Any]) -> dict[str, Any]:
        if Unreadable in set(map(type, values)) and (
            reasons := [f"{name}: {values[at].why}" for at, name in read if type(values[at]) is Unreadable]
        ):
            raise MappingError("; ".join(reasons))
        chosen = (own(values),) if is_one else own(values)
        return assemble(model, chosen, None if extra is None else values[extra])

    return make
