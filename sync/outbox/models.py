"""The outbox: which keys have to be delivered, and the state of each target."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connections, models, transaction

from sync.core import conf
from sync.core.batching import CHUNK, chunks
from sync.core.clock import DatabaseNow, as_moment, now_sql
from sync.core.compiled import Statement
from sync.core.retry import retry_on_deadlock
from sync.mapping.fields import NewObjectId, new_object_id
from sync.outbox.pauses import PAUSED
from sync.workers.models import ModelState


class Taken(NamedTuple):
    """What a delivery needs to know of a change: its columns as they were before it was claimed, if it was."""

    pk: str
    model: str
    key: str
    until: str = ""
    claim: str = ""
    settling: bool = False
    attempts: int = 0
    recorded_at: datetime = datetime.min
    due_at: datetime = datetime.min
    via: str = ""


class Shard(NamedTuple):
    """The keys of one of several relays: those whose CRC-32, divided by `of`, leaves `number`."""

    number: int
    of: int


WHOLE = Shard(0, 1)


def in_flight() -> models.Q:
    """Changes held by a worker: they were written inline and have to be confirmed, or a repair is delivering them."""
    return ~models.Q(claim="") & models.Q(due_at__gt=DatabaseNow())


class Acted(NamedTuple):
    """How many changes an operator's action reached, and how many it skipped as in flight or for another reason."""

    done: int
    in_flight: int = 0
    skipped: int = 0

    @property
    def is_complete(self) -> bool:
        return not (self.in_flight or self.skipped)


def delay(attempts: int) -> timedelta:
    """How long a change waits after its failed attempt number `attempts`."""
    return timedelta(seconds=min(2.0**attempts, 300))


QUEUE = "the queue"  # stands for the queue in the compiled statement


@functools.cache
def _any(using: str, failed: bool) -> Statement:
    """Whether a queue has dead letters, or changes that are due. Idle relays ask all the time."""
    found = Change.objects.using(using).filter(queue=QUEUE, failed=failed)
    return Statement.exists(found if failed else found.filter(due_at__lte=DatabaseNow()))


class ChangeQuerySet(models.QuerySet):
    """The verbs of the queue. Each is one statement or one transaction, and safe beside all the others."""

    def undelivered(self) -> ChangeQuerySet:
        """Changes whose documents MongoDB does not have yet, as far as is known: without settling deletions."""
        return self.filter(settling=False).exclude(in_flight(), failed=False)

    def due(self, queue: str = "", *, ranges: bool = False, models: Collection[str] = ()) -> ChangeQuerySet:
        """Changes of a queue that may be claimed now, oldest first: keys, or ranges of a backfill and fan-outs.

        models: only of these (labels); if empty, all but paused ones.
        """
        due = self.filter(queue=queue, failed=False, due_at__lte=DatabaseNow()).order_by("due_at")
        due = due.exclude(until="") if ranges else due.filter(until="")
        return due.filter(model__in=models) if models else due.exclude(model__in=ModelState.objects.paused(self.db))

    def any_due(self, queue: str) -> bool:
        """Whether a change of this queue may be claimed now, unless its target is paused. Idle relays ask only this."""
        return bool(_any(self.db, False).fetch({QUEUE: queue}))

    def any_failed(self, queue: str) -> bool:
        """Whether this queue has dead letters."""
        return bool(_any(self.db, True).fetch({QUEUE: queue}))

    def look(self, queue: str, limit: int, shard: Shard = WHOLE, age: float = 0.0) -> list[Taken]:
        """Up to `limit` changes of keys that are due, oldest first, without claiming them: see outbox/relay.py.

        shard: only of its keys. age: only those that are due for this many seconds. Targets that are paused are left
        out, as of at most PAUSE_AGE ago.
        """
        # Plain SQL: compiling it takes longer than MySQL needs to run it.
        paused = sorted(PAUSED(self.db))
        connection = connections[self.db]
        conditions = ["queue = %s", f"due_at <= {now_sql(self.db)}", "failed = 0", "until = ''"]
        if paused:
            conditions.append(f"model NOT IN ({', '.join(['%s'] * len(paused))})")
        if shard.of > 1:
            conditions.append(f"MOD(CRC32(`key`), {shard.of:d}) = {shard.number:d}")
        if age:
            conditions[1] += f" - INTERVAL {age:f} SECOND"
        quote, text = connection.ops.quote_name, "CAST({} AS CHAR)" if connection.vendor == "mysql" else "{}"
        *plain, recorded_at, due_at = map(quote, ["id", *Taken._fields[1:-1]])
        columns = ", ".join([*plain, text.format(recorded_at), text.format(due_at)])
        where = " AND ".join(conditions)
        sql = f"SELECT {columns} FROM sync_change WHERE {where} ORDER BY due_at LIMIT {limit:d}"  # noqa: S608 (no values)
        with connection.cursor() as cursor:
            cursor.execute(sql, [queue, *paused])
            found = cursor.fetchall()
        return [Taken._make((*row[:5], bool(row[5]), row[6], *map(as_moment, row[7:]), "")) for row in found]

    @retry_on_deadlock
    def claim(self, limit: int, token: str) -> list[Taken]:
        """Claims up to `limit` of these for one lease. The `claim` of each returned change is that of its former
        holder.

        token: of the new holder.
        """
        with transaction.atomic(self.db):
            skip = connections[self.db].features.has_select_for_update_skip_locked
            columns = self.select_for_update(skip_locked=skip).values_list(*Taken._fields)
            changes = [Taken(*row) for row in columns[:limit]]
            if changes:
                mine = Change.objects.using(self.db).filter(pk__in=[change.pk for change in changes])
                mine.update(claim=token, due_at=DatabaseNow() + timedelta(seconds=conf.LEASE))
        return changes

    def held(self, changes: Collection[Taken], token: str) -> ChangeQuerySet:
        """Of these changes, those that `token` still holds; if it is "", those that are still due."""
        mine = self.filter(pk__in=[change.pk for change in changes])
        return mine.filter(claim=token) if token else mine.filter(due_at__lte=DatabaseNow())

    def parts(self) -> Iterator[ChangeQuerySet]:
        """Yields these changes in parts that are found by their primary keys.

        A write that finds its rows in another way locks each row that it looks at. So it waits for every open
        transaction that has recorded a change, for as long as the application keeps it open.
        """
        keys = self.order_by("pk").values_list("pk", flat=True)
        part = list(keys[:CHUNK])
        while part:
            yield self.order_by().filter(pk__in=part)
            part = list(keys.filter(pk__gt=part[-1])[:CHUNK])

    @retry_on_deadlock
    def release(self) -> None:
        """Returns claimed changes to the queue. Any worker can claim them at once."""
        self.update(claim="", due_at=DatabaseNow())

    @retry_on_deadlock
    def settle(self) -> None:
        """Keeps a delivered deletion, to deliver it once more when every earlier insert has arrived."""
        due = DatabaseNow() + timedelta(seconds=conf.SETTLE)
        self.update(settling=True, claim="", due_at=due, attempts=0, error="")

    @retry_on_deadlock
    def put_off(self, why: str, attempts: int) -> None:
        """After failed attempt number `attempts`: retries later, or never automatically after the last one."""
        self.update(
            claim="",
            attempts=models.F("attempts") + 1,
            error=why[:2000],
            failed=attempts >= conf.MAX_ATTEMPTS,
            due_at=DatabaseNow() + delay(attempts),
        )

    @retry_on_deadlock
    def remove(self, changes: Collection[Taken], token: str) -> None:
        """Removes those of these delivered changes that are `held`."""
        # Plain SQL: every request that saves runs this, and compiling it in the ORM takes longer than MySQL needs to
        # run it.
        held, params = ("claim = %s", [token]) if token else (f"due_at <= {now_sql(self.db)}", [])
        for part in chunks(list(changes)):
            places = ", ".join(["%s"] * len(part))
            sql = f"DELETE FROM sync_change WHERE {held} AND id IN ({places})"  # noqa: S608 (placeholders only)
            with connections[self.db].cursor() as cursor:
                cursor.execute(sql, [*params, *(change.pk for change in part)])

    @retry_on_deadlock
    def retry(self) -> Acted:
        """Makes changes due now that failed or wait for a retry."""
        chosen = self.order_by()
        skipped = chosen.filter(in_flight()).count()
        # A settling deletion was delivered, and always waits its full time.
        free = chosen.exclude(in_flight()).exclude(settling=True, error="", failed=False)
        due = {"failed": False, "attempts": 0, "claim": "", "due_at": DatabaseNow()}
        return Acted(sum(part.update(**due) for part in free.parts()), skipped)

    @retry_on_deadlock
    def discard(self) -> Acted:
        """Removes failed changes. Their documents stay unchanged, and verify continues to report them."""
        chosen = self.order_by()
        skipped = chosen.filter(in_flight()).count()
        # The statement looks again: a change that is retried meanwhile is no longer failed, and stays.
        return Acted(sum(part._raw_delete(part.db) for part in chosen.filter(failed=True).parts()), skipped)


class Change(models.Model):
    """A key that has to be delivered. It has no payload: the worker reads the row's current state.

    A change without a write is harmless; a write without a change is the bug. A change is removed when it is delivered,
    so the table has what MongoDB may not have yet.
    """

    # Made by the client, so that the ids of a bulk are known on MySQL, too. Never a cursor: ids become visible
    # out of order. A program that inserts a change with SQL names only `model` and `key`.
    id = models.CharField(primary_key=True, max_length=24, default=new_object_id, db_default=NewObjectId())
    model = models.CharField(max_length=200, help_text="Its label, and target: finance.account@eu:accounts.")
    queue = models.CharField(
        max_length=50, blank=True, default="", db_default="", help_text="The alias of the target's server."
    )
    key = models.CharField(max_length=255, help_text="The row's primary key, as text.")
    until = models.CharField(
        max_length=255,
        blank=True,
        db_default="",
        help_text="Backfill: all rows after `key` up to this one, instead of one row. Fan-out: the row that changed.",
    )
    via = models.CharField(
        max_length=200,
        blank=True,
        db_default="",
        help_text="Fan-out: where documents embed the row `until`. All documents after `key` that do are delivered.",
    )
    recorded_at = models.DateTimeField(default=DatabaseNow, db_default=DatabaseNow())
    due_at = models.DateTimeField(
        db_default=DatabaseNow(), help_text="Not claimed before: a lease, a retry's delay, a settling time."
    )
    claim = models.CharField(max_length=24, blank=True, default="", db_default="", help_text="The holder of the claim.")
    # The usual values are the table's defaults: recording a change is part of every save.
    settling = models.BooleanField(db_default=False, help_text="A deletion, to be delivered once more.")
    attempts = models.PositiveSmallIntegerField(db_default=0)
    error = models.TextField(blank=True, db_default="", help_text="Why the last attempt failed.")
    failed = models.BooleanField(
        db_default=False, help_text="A dead letter: not retried until an operator requests it."
    )

    objects = ChangeQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["queue", "failed", "due_at"], name="sync_change_due"),
            models.Index(fields=["model", "key"], name="sync_change_key"),
        ]
        permissions = [
            ("view_console", "Can see the state of the mirror"),
            ("view_record", "Can see a row beside its document"),
            ("operate", "Can retry, discard, pause, verify, repair and backfill"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.key}"
