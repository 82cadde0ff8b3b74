"""The outbox: which keys are to be delivered, and what is known of each target."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db import models

from sync.core.clock import DatabaseNow
from sync.mapping.fields import NewObjectId, new_object_id


class Claimed(NamedTuple):
    """What a delivery knows of a change in its hands: the columns of models.Change, as they were before it took it."""

    pk: str
    model: str
    key: str
    until: str = ""
    claim: str = ""
    settling: bool = False
    attempts: int = 0
    recorded_at: datetime = datetime.min
    due_at: datetime = datetime.min


def in_hand() -> models.Q:
    """Changes that somebody holds: a relay delivers them, or they were written inline and are to be confirmed."""
    return ~models.Q(claim="") & models.Q(due_at__gt=DatabaseNow())


class ChangeQuerySet(models.QuerySet):
    def undelivered(self) -> ChangeQuerySet:
        """Those whose documents MongoDB does not have yet, as far as this is known: settling deletes it has."""
        return self.filter(settling=False).exclude(in_hand(), failed=False)


class Change(models.Model):
    """A key that has to be looked at again: no payload, whoever delivers it reads the row as it is then.

    A change without a write is harmless; a write without a change is the bug. It is removed when delivered: what
    is here is what MongoDB may not have yet.
    """

    # Made by the client, so that the ids of a bulk are known on MySQL too. Never a cursor: ids become visible
    # out of order. A program that inserts a change by SQL names `model` and `key` only.
    id = models.CharField(primary_key=True, max_length=24, default=new_object_id, db_default=NewObjectId())
    model = models.CharField(max_length=200, help_text="Its label, and target: finance.account@eu:accounts.")
    lane = models.CharField(
        max_length=50, blank=True, default="", db_default="", help_text="The alias of the target's server."
    )
    key = models.CharField(max_length=255, help_text="The row's primary key, as text.")
    until = models.CharField(
        max_length=255,
        blank=True,
        db_default="",
        help_text="Backfill: all rows after `key` up to this one, instead of one row.",
    )
    recorded_at = models.DateTimeField(default=DatabaseNow, db_default=DatabaseNow())
    due_at = models.DateTimeField(
        db_default=DatabaseNow(), help_text="Nobody else claims it before: a lease, a retry's delay, a settling time."
    )
    claim = models.CharField(max_length=24, blank=True, default="", db_default="", help_text="Who holds the lease.")
    # What most changes have is the table's default: recording them is a part of every save.
    settling = models.BooleanField(db_default=False, help_text="A delete, to be delivered once more.")
    attempts = models.PositiveSmallIntegerField(db_default=0)
    error = models.TextField(blank=True, db_default="", help_text="Why the last try failed.")
    failed = models.BooleanField(db_default=False, help_text="Parked: no further try until somebody asks for it.")

    objects = ChangeQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["lane", "failed", "due_at"], name="sync_change_due"),
            models.Index(fields=["model", "key"], name="sync_change_key"),
        ]
        permissions = [
            ("view_console", "Can see the state of the mirror"),
            ("view_record", "Can see a row beside its document"),
            ("operate", "Can retry, discard, pause, verify, repair and backfill"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.key}"


class ModelState(models.Model):
    """What is known of one target: the mapping its documents were written with, and whether it is paused."""

    model = models.CharField(primary_key=True, max_length=200)
    mapping = models.CharField(max_length=64, blank=True, help_text="Fingerprint of the mapping last backfilled.")
    paused = models.BooleanField(default=False)
    delivered_at = models.DateTimeField(null=True, help_text="When a heartbeat has last told of a delivery.")

    def __str__(self) -> str:
        return self.model
