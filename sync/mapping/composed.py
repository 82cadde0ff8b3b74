"""Composed documents: the documents of rows with those of other tables inside.

The statements are one for the rows, and one for each embed (two with `truncate`), however many rows there are. All see
the same moment: half a transaction never gets into a document.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, models
from django.db.models import F, Window
from django.db.models.functions import RowNumber

from sync.core import causal
from sync.mapping.columns import JSON_NULL
from sync.mapping.documents import MappingError, known_codec
from sync.mapping.embeds import Ids, Many, Node, One, embeds, nodes, writers
from sync.mapping.reading import exact
from sync.mapping.registry import Target
from sync.mapping.row_documents import documents_by_key
from sync.mapping.unreadable import Unreadable

Documents = dict[str, "dict[str, Any] | Exception"]
MOST = 50_000  # embedded rows of one embed in memory, unless one parent alone has more


class TooMany(Exception):
    """The embedded rows of these parents are too many to read together."""


@dataclass
class Part:
    """The document of an embedded row, and the microseconds of its dates below the milliseconds, by path."""

    document: dict[str, Any] = field(default_factory=dict)
    microseconds: dict[str, int] = field(default_factory=dict)
    problem: str = ""  # why it cannot be made


def documents_of(target: Target, keys: Sequence[str], using: str) -> Documents:
    """The documents of the target's rows with these keys, by key as given; an exception in place of one that cannot be
    made.

    Raises errors of the database.
    """
    if not embeds(target):
        return documents_by_key(target.model, keys, using)
    try:
        with snapshot(using):
            documents = documents_by_key(target.model, keys, using)
            _embed(target, documents, using)
            return documents
    except TooMany as error:
        if len(keys) == 1:  # its children together have too many
            return {keys[0]: MappingError(str(error))}
        half = len(keys) // 2
        return documents_of(target, keys[:half], using) | documents_of(target, keys[half:], using)


@contextmanager
def snapshot(using: str) -> Iterator[None]:
    """Every statement within sees the same committed state. In a transaction of the caller's, each sees its own."""
    connection: Any = connections[using]
    if connection.in_atomic_block:
        yield
        return
    causal.wait(using)  # before the snapshot: inside a transaction, a node of a cluster does not catch up
    statements = ["BEGIN"]
    if connection.vendor == "mysql":  # a snapshot needs this level, which is for the next transaction only
        statements = [
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ]
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def _embed(target: Target, documents: Documents, using: str) -> None:
    """Adds to the documents what they embed, or replaces a document by the reason why it cannot be made."""
    to_python = target.model._meta.pk.to_python
    keys = {to_python(key): key for key, document in documents.items() if not isinstance(document, Exception)}
    parts = {pk: Part() for pk in keys}
    _fill(parts, [node for node in nodes(target) if node.above is None], nodes(target), using)
    for pk, key in keys.items():
        part, document = parts[pk], documents[key]
        if part.problem:
            documents[key] = MappingError(part.problem)
            continue
        assert isinstance(document, dict)
        document.update(part.document)
        if part.microseconds:
            own = document.setdefault("_sync", {}).setdefault("us", {})
            own.update(part.microseconds)


def _fill(parts: Mapping[Any, Part], these: list[Node], all_nodes: tuple[Node, ...], using: str) -> None:
    """Adds the rows of `these` nodes to their parents' parts, which are given by key, and to the rows what is below."""
    for node in these:
        links, rows = _read(node, list(parts), using)
        below = [each for each in all_nodes if each.above is node]
        if below and rows:
            _fill(rows, below, all_nodes, using)
        by_parent: dict[Any, list[Any]] = defaultdict(list)
        for parent, key in links:
            by_parent[parent].append(key)
        for parent, part in parts.items():
            _add(part, node, by_parent.get(parent, []), rows)


def _add(part: Part, node: Node, keys: list[Any], rows: Mapping[Any, Part]) -> None:
    name = node.embed.name
    if isinstance(node.embed, Many) and len(keys) > node.embed.limit:
        if not node.embed.truncate:
            part.problem = part.problem or f"{name}: it has more than {node.embed.limit:,} rows, its limit"
            return
        keys = keys[: node.embed.limit]
    if isinstance(node.embed, One):
        if not keys or keys[0] not in rows:
            return
        _take(part, rows[keys[0]], name)
        part.document[name] = rows[keys[0]].document
    elif isinstance(node.embed, Many):
        found = [rows[key] for key in keys if key in rows]
        for place, row in enumerate(found):
            _take(part, row, f"{name}.{place}")
        part.document[name] = [row.document for row in found]
    else:
        part.document[name] = [known_codec(node.destination).to_bson(key) for key in keys]


def _take(part: Part, row: Part, path: str) -> None:
    part.microseconds |= {f"{path}.{below}": value for below, value in row.microseconds.items()}
    if row.problem:
        part.problem = part.problem or f"{path}.{row.problem}"


def _read(node: Node, parents: list[Any], using: str) -> tuple[list[tuple[Any, Any]], dict[Any, Part]]:
    """Which keys belong to which parent, in order, and the rows with these keys."""
    if node.pointer is not None:
        pointers: Any = exact(models.QuerySet(node.parent, using=using)).filter(pk__in=parents)
        links = [(pk, key) for pk, key in pointers.values_list("pk", node.pointer.attname) if key is not None]
        rows: Any = exact(models.QuerySet(node.model, using=using)).filter(pk__in={key for _, key in links})
        chosen = [writer.attname for writer in writers(node)]
        return links, {pk: _part(node, held) for pk, *held in rows.order_by().values_list("pk", *chosen)}
    table, parent, key, prefix = node.model, node.key, "pk", ""
    if node.through is not None:
        table, parent, key, prefix = node.through, node.source, node.destination.attname, f"{node.destination.name}__"
    rows = exact(models.QuerySet(table, using=using)).filter(**{f"{parent.attname}__in": parents})
    ordering = [_prefixed(each, prefix) for each in getattr(node.embed, "order_by", ())]
    if isinstance(node.embed, Many) and node.embed.truncate:
        first = _first(rows, parent.attname, [*ordering, key], node.embed.limit)
        _require_few(len(first), parents, node)
        rows = exact(models.QuerySet(table, using=using)).filter(pk__in=first)
    chosen = [] if isinstance(node.embed, Ids) else [prefix + writer.attname for writer in writers(node)]
    links, parts = [], {}
    most = getattr(node.embed, "limit", None) if len(parents) == 1 else MOST
    found: Any = rows.order_by(*ordering, key).values_list(parent.attname, key, *chosen)
    for parent_key, row_key, *held in found if most is None else found[: most + 1]:
        links.append((parent_key, row_key))
        if chosen and row_key not in parts:
            parts[row_key] = _part(node, held)
    _require_few(len(links), parents, node)
    return links, parts


def _require_few(rows: int, parents: list[Any], node: Node) -> None:
    if len(parents) > 1 and rows > MOST:
        raise TooMany(f"{node.path}: there are more than {MOST:,} rows; set a smaller limit")


def _prefixed(name: str, prefix: str) -> str:
    return f"-{prefix}{name[1:]}" if name.startswith("-") else prefix + name


def _first(rows: Any, parent: str, ordering: list[str], limit: int) -> list[Any]:
    """The keys of the first rows of each parent."""
    by = [F(each[1:]).desc() if each.startswith("-") else F(each).asc() for each in ordering]
    number = Window(RowNumber(), partition_by=F(parent), order_by=by)
    plain: Any = models.QuerySet(rows.model, using=rows.db)
    plain.query.where = rows.query.where
    return list(plain.annotate(number=number).filter(number__lte=limit).order_by().values_list("pk", flat=True))


def _part(node: Node, values: list[Any]) -> Part:
    """The document of a row whose values are in the order of `writers`."""
    part = Part()
    for (name, _, to_bson), value in zip(writers(node), values, strict=True):
        if value is None:
            continue
        if type(value) is Unreadable:
            part.problem = part.problem or f"{name}: {value.why}"
            continue
        if value is JSON_NULL:
            part.document[name] = None
            continue
        try:
            part.document[name] = to_bson(value)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            part.problem = part.problem or f"{name}: {error}"
            continue
        if isinstance(value, datetime.datetime) and value.microsecond % 1000:
            part.microseconds[name] = value.microsecond % 1000
    return part
