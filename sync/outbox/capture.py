"""Capture: every write of a mirrored row records a change in the same transaction.

`MirroredModel._save_table` covers saves, `MirroredQuerySet` bulk writes, and a `post_delete` receiver every delete (its
presence also keeps Django from deleting rows without reading them). Writes that bypass the ORM are not captured here.
"""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, models, router, transaction
from django.db.models.signals import class_prepared, m2m_changed, post_delete, pre_delete
from django.db.models.sql import InsertQuery

from sync.core import conf
from sync.core.batching import chunks
from sync.core.clock import DatabaseNow
from sync.core.querysets import alters_data
from sync.mapping.documents import options_of, pk_of
from sync.mapping.fields import new_object_id
from sync.mapping.registry import Target, targets
from sync.mongodb.breaker import BREAKER
from sync.outbox import delivery, parents
from sync.outbox.models import Change, Taken
from sync.signals import rows_changed
from sync.workers import bell

logger = logging.getLogger(__name__)


def record(
    model: type[models.Model],
    keys: Collection[Any],
    using: str | None = None,
    *,
    inline: bool = True,
    to: Sequence[Target] = (),
) -> None:
    """Records, in the caller's transaction, that these rows have to be delivered.

    Inline delivery follows the commit, unless there are many keys or `inline` is false: then the relay delivers them.
    For a model with `Mirror(capture=False)`, only changes that are not inline are recorded: those of the follower,
    backfill and repair.
    to: only for these targets of the model, instead of all.
    Raises TransactionManagementError outside a transaction, where row and change could be separated, and ValueError for
    rows of another database than the relays read.
    """
    if not keys or (inline and not options_of(model).capture):
        return
    using = using or router.db_for_write(model)
    connection: Any = connections[using]
    if using != DEFAULT_DB_ALIAS:
        _require_same_database(using)
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("A change is recorded in the transaction that writes the row.")
    hooks = (getattr(hook, "__self__", None) for _, hook, _ in reversed(connection.run_on_commit))
    batch = next((owner for owner in hooks if isinstance(owner, InlineBatch)), None)
    inline = inline and conf.INLINE and len(keys) <= conf.INLINE_MAX_KEYS and (batch is not None or BREAKER.allows())
    if inline and batch is None:
        batch = InlineBatch(using)
    insert, values = _insert_sql(using)
    concrete: Any = model._meta.concrete_model
    rows_changed.send(concrete, keys=keys, using=using)
    for target in to or targets(concrete):
        # What inline delivery will handle is born claimed; a relay claims it later to confirm it.
        taken = batch if inline and not target.name else None
        claim, lease = (taken.token, int(conf.CONFIRM * 1e6)) if taken else ("", 0)
        label, queue = target.label, target.queue
        changes = [Taken(new_object_id(), label, str(key), claim=claim) for key in keys]
        with connection.cursor() as cursor:
            for part in chunks(changes):
                rows = [(change.pk, label, queue, change.key, "", "", lease, claim) for change in part]
                cursor.execute(insert + ", ".join([values] * len(rows)), [value for row in rows for value in row])
        if taken:
            taken.add(changes)
        else:
            _ring_after_commit(Ring(queue, using), connection)


def record_rows(
    table: type[models.Model],
    keys: Collection[Any],
    using: str,
    *links: parents.Links,
    written: Collection[str] | None = None,
) -> None:
    """Records, in the caller's transaction, that rows of a table have been written: for their documents, and for those
    that embed them.

    links: their link columns (see parents.py) before the write and after it. written: the fields that the write names.
    """
    if hasattr(table, "mirror"):
        record(table, keys, using)
    record_concerned(parents.concerned(table, keys, *links, written=written), using)


def record_concerned(found: Iterable[parents.Concerned], using: str, *, inline: bool = True) -> None:
    """Records the documents that embed rows which the caller's transaction has written. inline: see `record`."""
    merged: dict[tuple[Target, str], frozenset[str]] = defaultdict(frozenset)
    for target, via, keys in found:  # a row may be embedded in several places
        merged[target, via] |= keys
    for (target, via), keys in merged.items():
        if not via:
            record(target.model, sorted(keys), using, inline=inline, to=[target])
        elif not inline or options_of(target.model).capture:
            _record_fan_outs(target, via, keys, using)


def _record_fan_outs(target: Target, via: str, keys: Collection[str], using: str) -> None:
    insert, values = _insert_sql(using)
    rows = [(new_object_id(), target.label, target.queue, "", key, via, 0, "") for key in sorted(keys)]
    with connections[using].cursor() as cursor:
        for part in chunks(rows):
            cursor.execute(insert + ", ".join([values] * len(part)), [value for row in part for value in row])
    _ring_after_commit(Ring(target.queue, using), connections[using])


class Ring(NamedTuple):
    """An `on_commit` hook: wakes the relays of a queue."""

    queue: str
    using: str

    def __call__(self) -> None:
        bell.ring(self.queue, self.using)


def _ring_after_commit(ring: Ring, connection: Any) -> None:
    if all(hook != ring for _, hook, _ in connection.run_on_commit):
        connection.on_commit(ring, robust=True)


def _require_same_database(using: str) -> None:
    """Raises ValueError unless `using` is another alias of the default database.

    Changes of another database would wait forever, and its rows would replace the documents of others.
    """
    mine, other = connections[DEFAULT_DB_ALIAS].settings_dict, connections[using].settings_dict
    if any(mine[name] != other[name] for name in ("ENGINE", "HOST", "PORT", "NAME")):
        raise ValueError(f"Mirrored rows live in one database, 'default', and {using!r} is another one.")


@functools.cache
def _insert_sql(using: str) -> tuple[str, str]:
    """`INSERT ... VALUES ` and one row's placeholders, compiled by the ORM once per process, because every save uses
    them.

    The parameters are id, model, queue, key, until, via, due_at (in microseconds from now) and claim; the other columns
    have defaults.
    """
    change = Change(until="", via="", recorded_at=DatabaseNow(), due_at=DatabaseNow() + timedelta(microseconds=1))
    query = InsertQuery(Change)
    given = ("id", "model", "queue", "key", "until", "via", "recorded_at", "due_at", "claim")
    query.insert_values([field for field in Change._meta.concrete_fields if field.name in given], [change])
    [(sql, _)] = query.get_compiler(using).as_sql()
    insert, values = sql.split("VALUES ", 1)
    return insert + "VALUES ", values


class InlineBatch:
    """The changes of one transaction, delivered together after its commit.

    A savepoint that is rolled back discards its changes and its hooks. So the batch has a hook for each savepoint with
    changes, and the first hook that runs delivers them all.
    """

    def __init__(self, using: str) -> None:
        self.using = using
        self.token = new_object_id()
        self.changes: list[Taken] = []
        self.savepoints: set[tuple[str, ...]] = set()
        self.done = False

    def add(self, changes: list[Taken]) -> None:
        self.changes += changes
        connection = connections[self.using]
        savepoints = tuple(connection.savepoint_ids)
        if savepoints not in self.savepoints:
            self.savepoints.add(savepoints)
            connection.on_commit(self.deliver, robust=True)

    def deliver(self) -> None:
        """The `on_commit` hook."""
        if self.done:
            return
        self.done = True
        delivery.deliver_inline(self.changes, self.token, self.using, some_rolled_back=len(self.savepoints) > 1)


class MirroredQuerySet(models.QuerySet):
    """A queryset whose bulk writes record their changes. Deletes are captured by the receivers below."""

    @alters_data
    def update(self, **kwargs: Any) -> int:
        """Like Django's, but in chunks of locked keys: exactly the updated rows are recorded."""
        pk = pk_of(self.model)
        if {"pk", pk.name, pk.attname} & set(kwargs):
            raise ValueError("The primary key of a mirrored row is its document's _id and cannot be changed.")
        if self.query.is_sliced:
            raise TypeError("Cannot update a query once a slice has been taken.")
        self._for_write = True
        with transaction.atomic(self.db, savepoint=False):
            # With READ COMMITTED, rows can join the selection between two statements, so the keys are fixed first.
            tables = _tables(self.model)
            found = list(self.order_by().select_for_update().values_list(*tables.values()))
            keys = [row[0] for row in found]
            written = {table: [row[place] for row in found] for place, table in enumerate(tables)}
            before = {table: parents.read_links(table, rows, self.db) for table, rows in written.items()}
            # A value can refer to an annotation, so the query itself is narrowed and not replaced.
            updated = sum(super(MirroredQuerySet, self.filter(pk__in=part)).update(**kwargs) for part in chunks(keys))
            for table, rows in written.items():
                after = parents.read_links(table, rows, self.db) if parents.are_written(table, kwargs) else {}
                record_rows(table, rows, self.db, before[table], after, written=kwargs)
        return updated

    @alters_data
    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Like Django's. Each object needs its key beforehand, or a database that returns it."""
        self._for_write = True
        with transaction.atomic(self.db, savepoint=False):
            objs = list(objs)
            table: Any = self.model._meta.concrete_model
            given = [obj.pk for obj in objs if obj.pk is not None] if kwargs.get("update_conflicts") else []
            before = parents.read_links(table, given, self.db) if given else {}
            created = super().bulk_create(objs, *args, **kwargs)
            keys = self._keys_written(created, **kwargs) if _needs_keys(table, **kwargs) else []
            record_rows(table, keys, self.db, before, parents.links_of(table, created))
        return created

    def _keys_written(self, objs: list[Any], **options: Any) -> list[Any]:
        """The keys of rows that bulk_create may have written. Raises ValueError if they cannot be known."""
        keys = [obj.pk for obj in objs]
        if None in keys:
            raise ValueError(
                f"{connections[self.db].display_name} does not return the keys of a bulk insert; give "
                f"{self.model.__name__} a key made in Python (sync.mapping.fields.ObjectIdField), or save one by one."
            )
        if options.get("update_conflicts") and _has_other_unique(self.model):
            raise ValueError(
                f"{self.model.__name__} has unique fields besides its key, so which rows a conflict updates is not "
                "known; use update_or_create."
            )
        return keys


def _tables(model: type[models.Model]) -> dict[type[models.Model], str]:
    """The mirrored tables that store a row of `model`, its own first, and which field of it holds their key."""
    concrete: Any = model._meta.concrete_model
    inherited = [parent for parent in concrete._meta.all_parents if hasattr(parent, "captured")]
    return {concrete: "pk"} | {parent: concrete._meta.get_ancestor_link(parent).attname for parent in inherited}


def _needs_keys(table: Any, **options: Any) -> bool:
    """Whether the rows are known by their keys, and not only by the parents that they name."""
    return hasattr(table, "mirror") or parents.has_pointed_to(table) or bool(options.get("update_conflicts"))


def _has_other_unique(model: type[models.Model]) -> bool:
    options = model._meta
    return bool(
        options.total_unique_constraints
        or options.unique_together
        or any(field.unique and not field.primary_key for field in options.concrete_fields)
    )


class MirroredManager(models.Manager.from_queryset(MirroredQuerySet)):  # type: ignore[misc]  # a base made at run time
    """The manager of mirrored models. Create others with `MirroredManager.from_queryset(...)`."""


def _read_before_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    # The row, and what links it to parents, can be read only before; the signals of a deletion share its transaction.
    vars(instance)[CONCERNED] = parents.of_deletion(sender, instance.pk, using)


def _record_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    if hasattr(sender, "mirror"):
        record(sender, [instance.pk], using)
    record_concerned(vars(instance).pop(CONCERNED, ()), using)


def _record_relation(
    sender: type[models.Model], instance: Any, action: str, reverse: bool, pk_set: Any, using: str, **_: Any
) -> None:
    """Django's own tables of many-to-many relations have no other signals."""
    if action in ("post_add", "post_remove"):
        record_concerned(parents.of_relation(sender, instance, pk_set, using, reverse=reverse), using)
    elif action == "pre_clear":
        record_concerned(parents.of_relation(sender, instance, None, using, reverse=reverse), using)


def _watch(sender: type[models.Model], **_: Any) -> None:
    if hasattr(sender, "captured") and not sender._meta.abstract:
        pre_delete.connect(_read_before_delete, sender=sender, dispatch_uid=f"sync.before.{sender._meta.label}")
        post_delete.connect(_record_delete, sender=sender, dispatch_uid=f"sync.{sender._meta.label}")


CONCERNED = "_sync_concerned"  # an attribute of an instance that is being deleted
class_prepared.connect(_watch)
m2m_changed.connect(_record_relation, dispatch_uid="sync.relations")
