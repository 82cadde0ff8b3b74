"""Capture for composed documents: which parents' documents a write of an embedded row concerns.

Inside the transaction, parents are named only from rows that it has locked; everything further after the commit. So a
row that names its parent by a foreign key concerns the parents before and after the write. If that parent is a row of
the target, its key is recorded as a change. Everything else is recorded as a fan-out, "via" a node of the document and
a row's key, and expanded after the commit (fan_out.py): to look further inside the transaction would miss a parent,
because the row in between may be moving.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from django.db import connections, models

from sync.core.batching import chunks
from sync.core.compiled import Statement
from sync.mapping.embeds import Node, fields, nodes
from sync.mapping.registry import Target, all_targets


class Embedding(NamedTuple):
    """A place where rows of one table are embedded, or link embedded rows to their parents.

    node: the embed. column: the row's foreign key to its parent; None if the row is known by its own key, because
    others point to it.
    """

    target: Target
    node: Node
    column: Any


class Concerned(NamedTuple):
    """What a write concerns: documents by their keys, or with `via`, all that embed the rows with these keys there."""

    target: Target
    via: str
    keys: frozenset[str]


KEY = "the row's key"  # stands for it in the compiled statement
Links = Mapping[Any, tuple[Any, ...]]  # the values of a table's link columns, by the row's key or instance


@functools.cache
def embeddings(table: Any) -> tuple[Embedding, ...]:
    """Where rows of this table (a concrete model) take part in documents."""
    return tuple(each for target in all_targets() for node in nodes(target) for each in _of_node(target, node, table))


def _of_node(target: Target, node: Node, table: Any) -> Iterable[Embedding]:
    if node.through is not None and node.through is table:
        yield Embedding(target, node, node.source)
    if node.model._meta.concrete_model is table and _has_content(node):
        yield Embedding(target, node, node.key)


def touched(table: Any, written: Collection[str] | None) -> tuple[Embedding, ...]:
    """Those of a table's embeddings that a write of these fields (None: of all) may concern."""
    return embeddings(table) if written is None else _touched(table, _columns_of(table, written))


def _columns_of(table: Any, names: Collection[str]) -> frozenset[str]:
    """The columns of these fields, which may be named either way."""
    given = {field.name: field.attname for field in table._meta.concrete_fields}
    return frozenset(given.get(each, each) for each in names)


@functools.lru_cache(1024)
def _touched(table: Any, names: frozenset[str]) -> tuple[Embedding, ...]:
    return tuple(each for each in embeddings(table) if _is_touched(each, table, names))


def _is_touched(each: Embedding, table: Any, names: frozenset[str]) -> bool:
    """Whether a write of these columns can change a document: links, embedded fields, and what their order follows."""
    node = each.node
    if node.through is table:
        return not names.isdisjoint((node.source.attname, node.destination.attname))
    shown = fields(node)
    if any(getattr(field, "generated", False) for field in shown):
        return True  # it may be computed from any column
    order = (name.removeprefix("-") for name in getattr(node.embed, "order_by", ()))
    used = {field.attname for field in shown} | {node.model._meta.get_field(name).attname for name in order}
    used |= {below.pointer.attname for below in nodes(each.target) if below.above == node and below.pointer}
    if node.key is not None:
        used.add(node.key.attname)
    return not names.isdisjoint(used)


def _has_content(node: Node) -> bool:
    """Whether documents have more of the rows than their keys, which never change."""
    return node.key is not None or hasattr(node.embed, "fields")


@functools.cache
def columns(table: Any) -> tuple[str, ...]:
    """The foreign keys of this table that name parents."""
    return tuple(dict.fromkeys(each.column.attname for each in embeddings(table) if each.column is not None))


def read_links(table: Any, keys: Collection[Any], using: str) -> Links:
    """The link columns of these rows, whose locks are taken or held already."""
    if not columns(table):
        return {}
    if len(keys) == 1 and (statement := _read_one(table, using)):
        [key] = keys
        prepared = table._meta.pk.get_db_prep_value(key, connections[using])
        found = statement.fetch({KEY: prepared})
        return {key: found[0]} if found else {}
    rows = _locked(table, using)
    parts = (rows.filter(pk__in=part).values_list("pk", *columns(table)) for part in chunks(list(keys)))
    return {pk: tuple(links) for part in parts for pk, *links in part}


@functools.cache
def _read_one(table: Any, using: str) -> Statement | None:
    """Reads the links of one row, which every save of an embedded row does. None if Django converts their values."""
    rows = _locked(table, using).filter(pk=models.Value(KEY)).values_list(*columns(table))
    compiler = rows.query.get_compiler(using)
    compiler.setup_query()
    if compiler.get_converters(each[0] for each in compiler.select):
        return None
    return Statement.select(rows)


def _locked(table: Any, using: str) -> Any:
    rows: Any = models.QuerySet(table, using=using).order_by()
    return rows.select_for_update() if connections[using].features.has_select_for_update else rows


def concerned(
    table: Any, keys: Iterable[Any], *links: Links, written: Collection[str] | None = None
) -> list[Concerned]:
    """Which documents a write concerns. keys: of the rows written. links: their link columns before and after.

    written: the fields that the write names; None if it may have changed all.
    """
    found = []
    held = list(keys)
    for target, node, column in touched(table, written):
        if column is None:
            names: set[Any] = set(held)
            via = node.path
        else:
            place = columns(table).index(column.attname)
            names = {values[place] for each in links for values in each.values()} - {None}
            via = node.above.path if node.above else ""
        if names:
            found.append(Concerned(target, via, frozenset(map(str, names))))
    return found


def before_save(table: Any, row: Any, using: str, force_insert: Any, update_fields: Any) -> Links:
    """The link columns of a row that is about to be saved, under its lock; empty if they stay, or if it is new."""
    key = getattr(row, table._meta.pk.attname)
    if key is None or force_insert or not are_written(table, update_fields):
        return {}
    return read_links(table, [key], using)


def after_save(table: Any, row: Any, using: str, update_fields: Any) -> Links:
    """The link columns of a row that was just saved; empty if no document depends on what was saved."""
    key = getattr(row, table._meta.pk.attname)
    if not touched(table, update_fields):
        return {}
    if are_written(table, update_fields):
        links = [table._meta.get_field(name) for name in columns(table)]
        values = [getattr(row, field.attname) for field in links]
        if not any(hasattr(value, "resolve_expression") for value in values):
            return {key: tuple(map(_to_key, links, values))}
    return read_links(table, [key], using)


def _to_key(field: Any, value: Any) -> Any:
    """A foreign key's value as the row will have it: an instance may hold a text of it."""
    return None if value is None else field.target_field.to_python(value)


def links_of(table: Any, rows: Iterable[Any]) -> Links:
    """The link columns of rows that were just inserted with the values of these instances."""
    links = [table._meta.get_field(name) for name in columns(table)]
    return {id(row): tuple(_to_key(field, getattr(row, field.attname)) for field in links) for row in rows}


def has_pointed_to(table: Any) -> bool:
    """Whether rows of this table are embedded because others point to them, so that a write has to name their keys."""
    return any(each.column is None for each in embeddings(table))


def are_written(table: Any, written: Collection[str] | None) -> bool:
    """Whether a write of these fields (None: of all) may change a link column."""
    names = columns(table)
    return bool(names) if written is None else not _columns_of(table, written).isdisjoint(names)


def of_deletion(table: Any, key: Any, using: str) -> list[Concerned]:
    """Which documents the deletion of a row concerns. Call it before the deletion."""
    concrete = table._meta.concrete_model
    found = concerned(concrete, [key], read_links(concrete, [key], using))
    for target, node in destinations(concrete):
        _lock(concrete, key, using)
        names = _linked(node.through, node.source, node.destination, key, using)
        found += _named(target, node, names)
    return found


@functools.cache
def destinations(table: Any) -> tuple[tuple[Target, Node], ...]:
    """Where rows of this table are embedded by a many-to-many relation. Their links go with them, without a signal."""
    return tuple(
        (target, node)
        for target in all_targets()
        for node in nodes(target)
        if node.through is not None and node.model._meta.concrete_model is table
    )


def of_relation(
    through: Any, row: Any, others: Collection[Any] | None, using: str, *, reverse: bool
) -> list[Concerned]:
    """Which documents a change of a many-to-many relation concerns.

    row: the row at one end. others: the keys at the other end; None for all that are related. reverse: the relation is
    declared on the model of the others.
    """
    found = []
    for target, node in _through(through):
        is_source = (node.source.name == _source_name(node)) != reverse
        if is_source:
            names: Iterable[Any] = [row.pk]
        elif others is not None:
            names = others
        else:
            _lock(type(row)._meta.concrete_model, row.pk, using)
            names = _linked(through, node.source, node.destination, row.pk, using)
        found += _named(target, node, names)
    return found


@functools.cache
def _through(through: Any) -> tuple[tuple[Target, Node], ...]:
    return tuple((target, node) for target in all_targets() for node in nodes(target) if node.through is through)


def _source_name(node: Node) -> str:
    """The foreign key of the relation's table to the model that declares it."""
    fields = {
        each.m2m_field_name()
        for model in (node.parent, node.model)
        for each in model._meta.many_to_many
        if each.remote_field.through is node.through
    }
    return fields.pop()


def _linked(through: Any, parent: Any, child: Any, key: Any, using: str) -> list[Any]:
    rows = _locked(through, using).filter(**{child.attname: key})
    return list(rows.values_list(parent.attname, flat=True))


def _lock(table: Any, key: Any, using: str) -> None:
    """Keeps other transactions from linking rows to this one: a foreign key takes a shared lock of what it names."""
    if connections[using].features.has_select_for_update:
        list(_locked(table, using).filter(pk=key).values_list("pk"))


def _named(target: Target, node: Node, names: Iterable[Any]) -> list[Concerned]:
    keys = frozenset(map(str, names))
    return [Concerned(target, node.above.path if node.above else "", keys)] if keys else []
