"""How far the follower has read, and what it still has to look at."""

from __future__ import annotations

from django.db import models

from sync.core.clock import DatabaseNow


class BinlogPosition(models.Model):
    """How far `sync follow-binlog` has come. One row, written in the transactions that record what it has read."""

    name = models.CharField(primary_key=True, max_length=20)
    server = models.CharField(max_length=100, help_text="Whose log `file` is of.")
    file = models.CharField(max_length=255)
    offset = models.BigIntegerField()
    gtids = models.TextField(blank=True, help_text="The transactions read; empty where the server has no GTIDs.")
    part = models.JSONField(default=list, help_text="Of the next transaction, the last [model, key] recorded.")
    followed = models.JSONField(default=list, help_text="The models followed up to here.")
    unplanned = models.JSONField(
        default=dict, help_text="Models that need a backfill; true: and a look at the documents whose rows are gone."
    )
    prepared = models.JSONField(default=dict, help_text="By XA transaction prepared and not yet committed: its keys.")
    event_at = models.DateTimeField(null=True, help_text="When the last transaction read was committed.")
    saved_at = models.DateTimeField(default=DatabaseNow)

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


class Sweep(models.Model):
    """A look to be taken at the documents of a model, for those whose rows went without a word (TRUNCATE)."""

    model = models.CharField(max_length=200)
    due_at = models.DateTimeField()
    after = models.TextField(blank=True, help_text="The last _id looked at, in Extended JSON.")

    def __str__(self) -> str:
        return f"{self.model} after {self.after or 'nothing'}"
