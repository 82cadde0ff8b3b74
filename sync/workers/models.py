"""The tables that workers share: their heartbeats, the state of each target, and the checkpoints of routes."""

from __future__ import annotations

import functools
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import models

from sync.core.clock import DatabaseNow
from sync.core.compiled import Statement
from sync.mapping.fields import DocumentField, new_object_id


class Worker(models.Model):
    """The heartbeat of a worker, or of a process with inline delivery. Removed after the heartbeat stops."""

    id = models.CharField(primary_key=True, max_length=24, default=new_object_id)
    kind = models.CharField(max_length=20)
    host = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    queue = models.CharField(max_length=50, blank=True, help_text="The alias of the server that it delivers to.")
    started_at = models.DateTimeField(default=DatabaseNow)
    heartbeat_at = models.DateTimeField(db_index=True)
    delivered = models.BigIntegerField(default=0, help_text="Keys since it started.")
    rate = models.FloatField(default=0, help_text="Keys per second, over the last interval.")
    lags = models.JSONField(default=dict, help_text="From commit to delivery, as LagHistogram counts them.")
    note = models.CharField(max_length=255, blank=True, help_text="What it is waiting for.")

    def __str__(self) -> str:
        return f"{self.kind} {self.pid} on {self.host}"


class ModelStateQuerySet(models.QuerySet):
    def paused(self, using: str) -> frozenset[str]:
        """Returns the labels of the targets whose delivery is paused."""
        return frozenset(self.using(using).filter(paused=True).values_list("model", flat=True))

    def delivered(self, labels: Collection[str], using: str) -> None:
        """Notes that these targets were delivered to now. One statement, unless a target has no row yet."""
        rows: Any = self.using(using)
        if rows.filter(model__in=labels).update(delivered_at=DatabaseNow()) < len(labels):
            new = [ModelState(model=label, delivered_at=DatabaseNow()) for label in labels]
            rows.bulk_create(new, ignore_conflicts=True)


class ModelState(models.Model):
    """One target: the mapping of its documents, whether it is paused, and when it was last delivered to."""

    model = models.CharField(primary_key=True, max_length=200)
    mapping = models.CharField(max_length=64, blank=True, help_text="Fingerprint of the mapping last backfilled.")
    paused = models.BooleanField(default=False)
    delivered_at = models.DateTimeField(null=True, help_text="When a heartbeat last reported a delivery.")

    objects = ModelStateQuerySet.as_manager()

    def __str__(self) -> str:
        return self.model


ROUTE, BEHIND = "the route", 987_654_321  # stand for its name, and for its lag in microseconds


@functools.cache
def _seen(using: str, is_lag_known: bool) -> Statement:
    known = {"in_sync_at": DatabaseNow() - timedelta(microseconds=BEHIND)} if is_lag_known else {}
    return Statement.update(Checkpoint.objects.using(using).filter(name=ROUTE), seen_at=DatabaseNow(), **known)


class CheckpointQuerySet(models.QuerySet):
    def seen(self, name: str, behind: float | None, using: str) -> None:
        """Notes that a worker runs the route, with a lag of `behind` seconds; None if the lag is unknown."""
        replaced = {ROUTE: name, BEHIND: round((behind or 0.0) * 1_000_000)}
        if not _seen(using, behind is not None).run(replaced):
            self.using(using).get_or_create(name=name)
            _seen(using, behind is not None).run(replaced)

    def set_paused(self, name: str, using: str, *, paused: bool) -> bool:
        """Pauses or resumes a route. Returns whether that changed its state."""
        self.using(using).get_or_create(name=name)
        return bool(self.using(using).filter(name=name, paused=not paused).update(paused=paused))


class Checkpoint(models.Model):
    """The position of a route, the holder of its lease, and whether it is paused. See lease.py and routes.py.

    Routes that store their state together with their data elsewhere (copy, consume) use only the other columns.
    """

    name = models.CharField(primary_key=True, max_length=255, help_text="Such as pull:finance.sale.")
    owner = models.CharField(max_length=80, blank=True, help_text="The process that holds the lease.")
    holder = models.CharField(max_length=120, blank=True, help_text="Its readable name.")
    leased_until = models.DateTimeField(default=DatabaseNow)
    state = DocumentField(default=dict, help_text="The route's position; each kind of route has its own form.")
    paused = models.BooleanField(default=False)
    in_sync_at = models.DateTimeField(null=True, help_text="When the target last had every change.")
    seen_at = models.DateTimeField(null=True, help_text="When a process last worked on it.")

    objects = CheckpointQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
