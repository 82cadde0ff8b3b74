"""Samples of the mirror's status over time: relays take one sample per slot, charts show the last 15 minutes."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction

from sync.core.clock import database_now
from sync.monitoring import queries
from sync.monitoring.models import Sample
from sync.workers.lag import quantile, total

EVERY = 15  # seconds per slot
SHOWN = 60  # slots that a chart shows
KEPT = 24 * 3600 // EVERY  # slots


def take(using: str = DEFAULT_DB_ALIAS) -> bool:
    """Take the current slot's sample. Return False if another process has already taken it."""
    slot = int(database_now(using).timestamp()) // EVERY
    samples = Sample.objects.using(using)
    try:
        with transaction.atomic(using):
            samples.create(slot=slot)
    except IntegrityError:
        return False
    changes, workers = queries.changes(using).values(), queries.workers(using)
    recent = total(worker.lags.get("recent", ()) for worker in workers if worker.alive)
    samples.filter(slot=slot).update(
        pending=sum(change["pending"] for change in changes),
        oldest_age=max((age for change in changes if (age := change["oldest_pending_age"]) is not None), default=None),
        rate=queries.rate(workers),
        p50=quantile(recent, 0.5),
        p99=quantile(recent, 0.99),
    )
    samples.filter(slot__lt=slot - KEPT).delete()
    return True


def recent(using: str = DEFAULT_DB_ALIAS) -> list[Sample]:
    """Return the samples of the last SHOWN slots, oldest first; empty samples for slots in which no relay was alive."""
    last = int(database_now(using).timestamp()) // EVERY
    slots = range(last - SHOWN + 1, last + 1)
    taken = {sample.slot: sample for sample in Sample.objects.using(using).filter(slot__gte=slots[0])}
    return [taken.get(slot) or Sample(slot=slot) for slot in slots]
