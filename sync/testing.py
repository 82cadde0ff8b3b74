"""Helpers for an application's tests: deliver pending changes, and compare rows with their documents.

Both work in Django's TestCase, whose transactions are never committed, and in TransactionTestCase. They need a MongoDB
server for tests, named by `MONGODB_URI` and `SYNC_TARGETS`.
"""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS

from sync.core.humanize import counted
from sync.mapping.registry import queues, targets
from sync.outbox.mirrored import MirroredModel
from sync.outbox.models import Change
from sync.outbox.mongo_writer import State
from sync.outbox.pauses import PAUSED
from sync.outbox.relay import Relay
from sync.verification.inspection import Side, inspect
from sync.verification.verify import verify

SHOWN = 20  # mismatches of a model that a failure lists


def deliver_all(using: str = DEFAULT_DB_ALIAS) -> None:
    """Delivers every pending change to MongoDB, in this process.

    Changes that wait for a retry, for a confirmation or for a commit that a TestCase never makes are due at once.
    Paused models stay paused, and failed changes wait for `sync retry`. Raises AssertionError with the reason if a row
    cannot be delivered, and Unavailable if MongoDB is unreachable.
    """
    PAUSED.forget()  # what it has cached may be of a test that was rolled back
    Change.objects.using(using).filter(queue__in=queues(), failed=False, settling=False).release()
    refused = sum(Relay(queue, using=using).drain()[State.REJECTED] for queue in queues())
    if refused:
        left = Change.objects.using(using).exclude(error="")
        raise AssertionError("\n".join(f"{change} was not delivered: {change.error}" for change in left[:SHOWN]))


def assert_equal(what: MirroredModel | type[MirroredModel], using: str = DEFAULT_DB_ALIAS) -> None:
    """Raises AssertionError unless documents match rows, field by field and type by type: for one row, or for a model.

    Compares what is stored, not what the instance has in memory. A document without a row is a mismatch, too.
    """
    found = _of_model(what, using) if isinstance(what, type) else _of_row(type(what), str(what.pk), using)
    if found:
        raise AssertionError("\n".join(found))


def _of_row(model: type[MirroredModel], key: str, using: str) -> list[str]:
    inspection = inspect(model, key, using)
    found = [line for side in inspection.sides for line in _of_side(side, key)]
    if found and inspection.changes:
        found.append("A change of it is pending: call deliver_all() first.")
    return found


def _of_side(side: Side, key: str) -> list[str]:
    name = f"{side.target.label} {key}"
    if side.error:
        return [f"{name}: {side.error}"]
    if side.mismatch is None:
        return []
    fields = ", ".join(map(str, side.mismatch.fields))
    values = [
        f"  {field.name}: {field.row or 'nothing'} in the row, {field.document or 'nothing'} in the document"
        for field in side.fields
        if field.differences
    ]
    return [f"{name}: {side.mismatch.kind}" + (f" ({fields})" if fields else ""), *values]


def _of_model(model: type[MirroredModel], using: str) -> list[str]:
    found: list[str] = []
    for target in targets(model):
        if not target.kind.readable:
            continue
        result = verify(target, using)
        found += map(str, result.found_mismatches()[:SHOWN])
        if result.found > SHOWN:
            found.append(f"{target.label}: {result.found} differences in all")
        if result.pending:
            pending = counted(result.pending, "key is", "keys are")
            found.append(f"{target.label}: {pending} not delivered yet: call deliver_all() first.")
    return found
