"""Backfill: delivers every row again, beside live traffic.

A backfill consists of ordinary changes, each for a range of keys. Workers claim and deliver ranges like single keys, so
a backfill continues after a crash, several processes share it, and it neither overwrites newer documents nor restores
deleted ones. A key of a range that meets a conflict or cannot be written becomes a change of its own.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pymongo
from django.db import DEFAULT_DB_ALIAS, transaction

from sync.core import causal, conf
from sync.core.clock import DatabaseNow
from sync.mapping.fields import new_object_id
from sync.mapping.kinds import kind_of
from sync.mapping.reading import literal
from sync.mapping.registry import Target, all_rows, find_target
from sync.outbox import fan_out
from sync.outbox.capture import record
from sync.outbox.mirrored import MirroredModel
from sync.outbox.models import Change, Taken
from sync.outbox.mongo_writer import State, Writer

RANGE = 1000  # rows of one change
SLOW = 1.0  # seconds for one batch, after which the servers get as long a break


def plan(target: Target, using: str = DEFAULT_DB_ALIAS, rate: float | None = None) -> int:
    """Records the ranges that cover every row for `target` and returns the number of rows. Replaces ranges already
    planned.

    rate: rows per second at most, over all workers; None sets no limit.
    """
    rows = 0
    causal.wait(using)  # the ranges cover all rows that any node had before
    with transaction.atomic(using):
        for part in Change.objects.using(using).filter(model=target.label).exclude(until="").parts():
            part.delete()
        planned = []
        for first, last, count in _ranges(target.model, using):
            wait = timedelta(seconds=rows / rate if rate else 0)
            due = DatabaseNow() + wait
            planned.append(Change(model=target.label, queue=target.queue, key=first, until=last, due_at=due))
            rows += count
        Change.objects.using(using).bulk_create(planned, batch_size=500)
    return rows


def _ranges(model: type[MirroredModel], using: str) -> Iterator[tuple[str, str, int]]:
    """Yields (the key before, the last key, the number of rows) of each range; "" is before the first row."""
    keys = all_rows(model, using).order_by("pk").values_list("pk", flat=True)
    last: Any = None
    while True:
        rest = keys if last is None else keys.filter(pk__gt=literal(model._meta.pk, last))
        end = rest[RANGE - 1 : RANGE].first()
        count = RANGE
        if end is None:
            tail = list(rest[:RANGE])
            if not tail:
                return
            end, count = tail[-1], len(tail)
        yield "" if last is None else str(last), str(end), count
        last = end


def left(using: str = DEFAULT_DB_ALIAS, models: Collection[str] = ()) -> int:
    """How many ranges are not delivered yet."""
    ranges = Change.objects.using(using).exclude(until="")
    return (ranges.filter(model__in=models) if models else ranges).count()


def work(
    using: str = DEFAULT_DB_ALIAS, models: Collection[str] = (), queue: str = "", writer: Writer | None = None
) -> tuple[str, dict[State, int]] | None:
    """Delivers one range that is due. Returns its label and how many keys came to which state, or None if none is due.

    models: only of these (labels). writer: by default that of the queue's kind. Raises Unavailable.
    """
    writer = writer or kind_of(queue).writer()
    token = new_object_id()
    changes = Change.objects.using(using)
    due = changes.due(queue, ranges=True, models=models)
    claimed = due.claim(1, token)
    if not claimed:
        return None
    [change] = claimed
    if change.via:
        claimed = fan_out.claim(change, due, token)
    totals, last, is_last = dict.fromkeys(State, 0), None, True
    try:
        target = find_target(change.model)
        claimed, parts, is_last = _share(target, claimed, using, token)
        for part in parts:
            for state, count in _deliver(target, part, using, token, writer).items():
                totals[state] += count
            last = part[-1]
    except LookupError:
        pass  # the target, or what it embedded, no longer exists, and neither does the plan
    except BaseException:
        changes.held(claimed, token).release()
        raise
    mine = changes.held(claimed, token)
    if is_last:
        mine.delete()
    else:
        mine.update(key=str(last), claim="", due_at=DatabaseNow())
    return change.model, totals


def _share(
    target: Target, claimed: list[Taken], using: str, token: str
) -> tuple[list[Taken], Iterable[list[Any]], bool]:
    """What is delivered now: which of the claimed changes, their keys in parts, and whether these are the last.

    Releases the other changes.
    """
    if not claimed[0].via:
        return claimed, _keys(target.model, claimed[0], using), True
    page = fan_out.page(target, claimed, using)
    Change.objects.using(using).held(claimed[len(page.changes) :], token).release()
    return page.changes, filter(None, [page.documents]), page.is_last


def _keys(model: type[MirroredModel], change: Taken, using: str) -> Iterator[list[Any]]:
    pk = model._meta.pk
    keys = all_rows(model, using).order_by("pk").values_list("pk", flat=True).filter(pk__lte=literal(pk, change.until))
    last: Any = change.key or None
    while chunk := list((keys if last is None else keys.filter(pk__gt=literal(pk, last)))[: conf.BATCH]):
        yield chunk
        last = chunk[-1]


def _deliver(target: Target, keys: list[Any], using: str, token: str, writer: Writer) -> dict[State, int]:
    start = time.monotonic()
    with pymongo.timeout(conf.TIMEOUT):
        outcome = writer.deliver(target, [str(key) for key in keys], using, token)
    left_over = [key for key in keys if outcome.states[str(key)] in (State.CONFLICT, State.REJECTED)]
    if left_over:
        with transaction.atomic(using):
            record(target.model, left_over, using, inline=False, to=[target])
    counts = dict.fromkeys(State, 0)
    for state in outcome.states.values():
        counts[state] += 1
    if (took := time.monotonic() - start) > SLOW:
        time.sleep(took)
    return counts
