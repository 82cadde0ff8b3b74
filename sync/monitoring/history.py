"""The mirror's status over time. Relays take a sample every 15 seconds, and each minute update summaries of samples.

Samples are kept for a day, and summaries for as long as a chart shows them. A summary has the minimum, the mean and the
maximum of each measure, so that a short peak stays visible. The charts read at most 168 rows.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, transaction
from django.db.models import Avg, F, Max, Min
from django.db.models.functions import Coalesce
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from sync.core.clock import database_now
from sync.monitoring import queries
from sync.monitoring.models import Sample, SampleSummary
from sync.workers.lag import quantile, total

EVERY = 15  # seconds per slot of a sample
SUMMARIZE = 4  # slots between two updates of the summaries, the shortest of which covers 40
MEASURES: dict[str, F | Coalesce] = {
    "p50": F("p50"),
    "p99": F("p99"),
    "pending": F("pending"),
    "oldest_age": Coalesce("oldest_age", 0.0),  # if nothing is pending, 0 instead of a gap
    "rate": F("rate"),
}


class Range(NamedTuple):
    """A range of time for the charts: so many points, each of `step` seconds."""

    title: str | Promise
    step: int
    points: int

    @property
    def seconds(self) -> int:
        return self.step * self.points


RANGES = {
    "15m": Range(_("Last 15 minutes"), EVERY, 60),
    "24h": Range(_("Last 24 hours"), 600, 144),
    "7d": Range(_("Last 7 days"), 3600, 168),
}
DEFAULT = "15m"
SUMMARIZED = [each for each in RANGES.values() if each.step != EVERY]
KEPT = 24 * 3600  # seconds that samples are kept at least


class Spread(NamedTuple):
    """The values of one measure in one slot. Those of a single sample are all the same."""

    minimum: float
    mean: float
    maximum: float


class Point(NamedTuple):
    """What was measured in the slot that begins at `at`. Without measures it is a gap: no relay was alive."""

    at: datetime.datetime
    measures: Mapping[str, Spread]


def work(using: str = DEFAULT_DB_ALIAS) -> None:
    """Take the current slot's sample, if it is not taken, and update the summaries with every fourth sample."""
    slot = take(using)
    if slot and slot % SUMMARIZE == 0:
        summarize(using)


def take(using: str = DEFAULT_DB_ALIAS) -> int | None:
    """Take the current slot's sample. Return the slot, or None if another process has already taken it."""
    slot = int(database_now(using).timestamp()) // EVERY
    samples = Sample.objects.using(using)
    try:
        with transaction.atomic(using):
            samples.create(slot=slot)
    except IntegrityError:
        return None
    changes, workers = queries.changes(using).values(), queries.workers(using)
    recent = total(worker.lags.get("recent", ()) for worker in workers if worker.alive)
    samples.filter(slot=slot).update(
        pending=sum(change["pending"] for change in changes),
        oldest_age=max((age for change in changes if (age := change["oldest_pending_age"]) is not None), default=None),
        rate=queries.rate(workers),
        p50=quantile(recent, 0.5),
        p99=quantile(recent, 0.99),
    )
    return slot


def summarize(using: str = DEFAULT_DB_ALIAS) -> None:
    """Update the summaries, and delete the samples that no chart shows any more."""
    now = int(database_now(using).timestamp())
    for each in SUMMARIZED:
        _summarize(each, now // each.step, using)
    # Whole periods only: no summary is ever made again from a part of its samples.
    longest = max(each.step for each in SUMMARIZED)
    Sample.objects.using(using).filter(slot__lt=(now - KEPT) // longest * longest // EVERY).delete()


def _summarize(shown: Range, slot: int, using: str) -> None:
    """Summarize the samples from the newest summaries on, including the slot that has not ended.

    The newest two summaries are made again: their slots may have got more samples, and a slow process may have stored
    an older version. So a pause or a killed process leaves nothing out, and the first call summarizes all samples.
    """
    summaries = SampleSummary.objects.using(using).filter(step=shown.step)
    newest = summaries.filter(slot__lte=slot).aggregate(newest=Max("slot"))["newest"]
    per = shown.step // EVERY
    groups = (
        Sample.objects.using(using)
        .filter(pending__isnull=False, slot__gte=0 if newest is None else (newest - 1) * per)
        .values(first=F("slot") - F("slot") % per)
        .annotate(**{
            f"{name}_{function.__name__}": function(value)
            for name, value in MEASURES.items()
            for function in (Min, Avg, Max)
        })
    )  # fmt: skip
    targets = connections[using].features.supports_update_conflicts_with_target
    summaries.bulk_create(
        [SampleSummary(step=shown.step, slot=group["first"] // per, measures=_measures(group)) for group in groups],
        update_conflicts=True,
        update_fields=["measures"],
        unique_fields=["step", "slot"] if targets else None,
    )
    summaries.filter(slot__lte=slot - shown.points).delete()


def _measures(group: Mapping[str, Any]) -> dict[str, list[float]]:
    spreads = {name: [group[f"{name}_{each}"] for each in ("Min", "Avg", "Max")] for name in MEASURES}
    return {name: spread for name, spread in spreads.items() if spread[0] is not None}


def points(shown: Range, using: str = DEFAULT_DB_ALIAS) -> list[Point]:
    """Return the points of a range, oldest first, the last one for the slot that has not ended."""
    last = int(database_now(using).timestamp()) // shown.step
    slots = range(last - shown.points + 1, last + 1)
    known = (_samples if shown.step == EVERY else _summaries)(shown, slots[0], using)
    return [
        Point(datetime.datetime.fromtimestamp(slot * shown.step, datetime.UTC), known.get(slot, {})) for slot in slots
    ]


def _samples(shown: Range, first: int, using: str) -> dict[int, dict[str, Spread]]:
    taken = Sample.objects.using(using).filter(pending__isnull=False, slot__gte=first)
    rows = taken.values_list("slot", *MEASURES.values())
    return {
        slot: {name: Spread(*[value] * 3) for name, value in zip(MEASURES, values, strict=True) if value is not None}
        for slot, *values in rows
    }


def _summaries(shown: Range, first: int, using: str) -> dict[int, dict[str, Spread]]:
    found = SampleSummary.objects.using(using).filter(step=shown.step, slot__gte=first)
    return {each.slot: {name: Spread(*values) for name, values in each.measures.items()} for each in found}
