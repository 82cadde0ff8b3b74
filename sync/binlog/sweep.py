"""Sweeps: search a model's documents for orphans, and record a change for each.

Orphans arise when the log has no rows of a deletion (TRUNCATE, a gap in the log). A sweep checks only documents that
the mirror wrote (`_sync.v`); `sync verify` reports all others. The first sweep runs at once, the second after
SYNC_SETTLE: a relay that read a row just before its deletion may still insert its document until its claim expires.
"""

from __future__ import annotations

import contextlib
import math
from datetime import timedelta
from typing import Any

import pymongo
from bson import json_util
from django.db import ProgrammingError, transaction
from django.db.models import Min
from pymongo.errors import PyMongoError

from sync.binlog.models import Sweep
from sync.core import conf
from sync.core.clock import DatabaseNow, database_now
from sync.mapping.documents import known_codec, pk_of
from sync.mapping.registry import Target, all_rows, find_target
from sync.mongodb.client import collection
from sync.mongodb.errors import Unavailable, reason
from sync.outbox.capture import record
from sync.verification.scan import TEXT

CHUNK = 1000  # documents checked in one step
RETRY = 2.0  # seconds until the next try if the table is missing


def plan(label: str, using: str) -> None:
    """Plans both sweeps of the target with this label."""
    Sweep.objects.using(using).filter(model=label).delete()
    for wait in (0.0, conf.SETTLE):
        Sweep.objects.using(using).create(model=label, due_at=DatabaseNow() + timedelta(seconds=wait))


def wait(using: str) -> float:
    """Returns the seconds until the next sweep is due; infinite if none is planned."""
    due_at = Sweep.objects.using(using).aggregate(first=Min("due_at"))["first"]
    return math.inf if due_at is None else (due_at - database_now(using)).total_seconds()


def work(using: str) -> bool:
    """Checks one chunk of a due sweep. Returns False if no sweep is due. Raises Unavailable."""
    sweep = Sweep.objects.using(using).filter(due_at__lte=DatabaseNow()).order_by("due_at").first()
    if sweep is None:
        return False
    try:
        target = find_target(sweep.model)
    except LookupError:
        sweep.delete()
        return True
    model, ids = target.model, _documents(target, sweep.after)
    keys = {}
    for _id in ids:
        with contextlib.suppress(ValueError, TypeError, AttributeError):  # an _id that cannot be a key of the model
            keys[known_codec(pk_of(model)).from_bson(_id)] = _id
    # Read the rows after the documents: a row inserted in between has its own change, which is delivered.
    try:
        rows = set(all_rows(model, using).filter(pk__in=list(keys)).values_list("pk", flat=True))
    except ProgrammingError:  # the table is missing at the moment, so its documents may not be orphans
        Sweep.objects.using(using).filter(pk=sweep.pk).update(due_at=DatabaseNow() + timedelta(seconds=RETRY))
        return True
    with transaction.atomic(using):
        record(model, [key for key in keys if key not in rows], using, inline=False, to=[target])
        if len(ids) < CHUNK:
            sweep.delete()
        else:
            # update(), not save(): another process may have finished the same sweep and deleted its row.
            after = json_util.dumps({"_id": ids[-1]}, json_options=TEXT)
            Sweep.objects.using(using).filter(pk=sweep.pk).update(after=after)
    return True


def _documents(target: Target, after: str) -> list[Any]:
    wanted: dict[str, Any] = {"_sync.v": {"$exists": True}}
    if after:
        wanted["_id"] = {"$gt": json_util.loads(after, json_options=TEXT)["_id"]}
    try:
        with pymongo.timeout(conf.TIMEOUT):
            return [found["_id"] for found in collection(target).find(wanted, {"_id": 1}).sort("_id").limit(CHUNK)]
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error
