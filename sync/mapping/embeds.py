"""What a composed document embeds: rows of other tables, as `Mirror(embed=...)` declares them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models

from sync.mapping.documents import known_codec

if TYPE_CHECKING:
    from sync.mapping.registry import Target


@dataclass(frozen=True)
class Many:
    """Embeds many rows as an array of objects, in a fixed order.

    relation: the parent's attribute: that of a foreign key's other side, such as `account_set`, or of a many-to-many
    relation. name: the field in the document. fields: those of each row, the key as `_id`; by default all, without the
    foreign key to the parent. order_by: names of the rows' fields, each with - for descending; the key comes last.
    limit: a parent with more rows is not delivered, or with `truncate` has only the first ones. embed: what the rows
    embed themselves.
    """

    relation: str
    name: str
    fields: tuple[str, ...] = ()
    order_by: tuple[str, ...] = ()
    limit: int = 1000
    truncate: bool = False
    embed: tuple[Embed, ...] = ()


@dataclass(frozen=True)
class One:
    """Embeds the row that a foreign key or a one-to-one relation names as an object; absent if there is none.

    relation, name, fields, embed: see `Many`.
    """

    relation: str
    name: str
    fields: tuple[str, ...] = ()
    embed: tuple[Embed, ...] = ()


@dataclass(frozen=True)
class Ids:
    """Embeds the keys of a many-to-many relation's rows, in their order. relation, name: see `Many`."""

    relation: str
    name: str


Embed = Many | One | Ids


class Node(NamedTuple):
    """One embed of a target, and how its rows belong to those of the node above, its parents.

    Exactly one of these tells the parents. key: a foreign key of the row. pointer: a foreign key of the parent. source
    and destination: the two foreign keys of the rows of `through`.
    above: the node above; None if the parents are the target's own rows. query: the name by which a query on the
    target's model reaches these rows.
    """

    embed: Embed
    model: Any
    parent: Any
    above: Node | None
    query: str
    key: Any = None
    pointer: Any = None
    through: Any = None
    source: Any = None
    destination: Any = None

    @property
    def path(self) -> str:
        """Its place in the document: `accounts.last`."""
        return f"{self.above.path}.{self.embed.name}" if self.above else self.embed.name

    @property
    def depth(self) -> int:
        return self.above.depth + 1 if self.above else 1


class Writer(NamedTuple):
    """One field of a sub-document: its name there, the row's attribute, and the function that makes it BSON."""

    name: str
    attname: str
    to_bson: Callable[[Any], Any]


def embeds(target: Target) -> tuple[Embed, ...]:
    """What the target's documents embed."""
    mirror = target.model.mirror
    return mirror.embed if mirror.embed_in is None or target.name in mirror.embed_in else ()


def nodes(target: Target) -> tuple[Node, ...]:
    """All nodes of a target, each before those below it. Raises ImproperlyConfigured."""
    return _nodes(target.model, embeds(target))


@functools.cache
def _nodes(model: Any, embedded: tuple[Embed, ...]) -> tuple[Node, ...]:
    return tuple(_below(model, embedded, None))


def _below(model: Any, embedded: Sequence[Embed], above: Node | None) -> Iterator[Node]:
    for embed in embedded:
        node = _resolve(model, embed, above)
        yield node
        yield from _below(node.model, getattr(embed, "embed", ()), node)


def _resolve(model: Any, embed: Embed, above: Node | None) -> Node:
    prefix = f"{above.query}__" if above else ""
    relation = _relation(model, embed.relation)
    if relation is None:
        raise ImproperlyConfigured(f"{model._meta.label} has no relation {embed.relation!r} to embed.")
    if isinstance(relation, models.ManyToManyField):
        return _by_through(model, embed, above, relation, relation.m2m_field_name(), relation.m2m_reverse_field_name())
    if isinstance(relation, models.ManyToManyRel):
        field = relation.field
        return _by_through(model, embed, above, field, field.m2m_reverse_field_name(), field.m2m_field_name())
    if isinstance(embed, Ids):
        raise ImproperlyConfigured(f"{model._meta.label}.{embed.relation} is no many-to-many relation, as Ids needs.")
    if isinstance(relation, models.ForeignKey):  # a one-to-one field, too
        if isinstance(embed, Many):
            raise ImproperlyConfigured(f"{model._meta.label}.{embed.relation} names one row: embed it with One.")
        return Node(embed, relation.related_model, model, above, prefix + relation.name, pointer=relation)
    if isinstance(embed, One) and not isinstance(relation, models.OneToOneRel):
        raise ImproperlyConfigured(f"{model._meta.label}.{embed.relation} names many rows: embed them with Many.")
    if isinstance(embed, Many) and isinstance(relation, models.OneToOneRel):
        raise ImproperlyConfigured(f"{model._meta.label}.{embed.relation} names one row: embed it with One.")
    query = prefix + relation.field.related_query_name()
    return Node(embed, relation.related_model, model, above, query, key=relation.field)


def _by_through(model: Any, embed: Embed, above: Node | None, field: Any, source: str, destination: str) -> Node:
    if isinstance(embed, One):
        raise ImproperlyConfigured(f"{model._meta.label}.{embed.relation} names many rows: use Many or Ids.")
    is_forward = field.model._meta.concrete_model is model._meta.concrete_model and source == field.m2m_field_name()
    query = field.name if is_forward else field.related_query_name()
    through = field.remote_field.through
    return Node(
        embed,
        field.related_model if is_forward else field.model,
        model,
        above,
        (f"{above.query}__" if above else "") + query,
        through=through,
        source=through._meta.get_field(source),
        destination=through._meta.get_field(destination),
    )


def _relation(model: Any, name: str) -> Any:
    """The field or the other side's relation that this attribute of the model has; None if there is none."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if isinstance(field, models.ForeignKey | models.ManyToManyField):
        return field
    return next((each for each in model._meta.related_objects if each.get_accessor_name() == name), None)


@functools.cache
def writers(node: Node) -> tuple[Writer, ...]:
    """The fields of a node's sub-documents. Raises ImproperlyConfigured for a name that is no field."""
    return tuple(
        Writer("_id" if field.primary_key else field.attname, field.attname, known_codec(field).to_bson)
        for field in fields(node)
    )


def fields(node: Node) -> list[Any]:
    """The model's fields that a node's sub-documents have."""
    chosen = getattr(node.embed, "fields", ())
    options = node.model._meta
    if not chosen:
        return [field for field in options.local_concrete_fields if field is not node.key]
    try:
        return [options.pk if name == "pk" else options.get_field(name) for name in chosen]
    except FieldDoesNotExist as error:
        raise ImproperlyConfigured(f"{error}, which {node.parent._meta.label} embeds.") from error
