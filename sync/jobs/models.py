"""Jobs: verifications, repairs and backfills that a user starts from a page."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from sync.core.clock import DatabaseNow


class Job(models.Model):
    """A verification, repair or backfill that a user started from a page. A relay process runs it."""

    class Kind(models.TextChoices):
        VERIFY = "verify", _("Verify")
        REPAIR = "repair", _("Repair")
        BACKFILL = "backfill", _("Backfill")

    model = models.CharField(max_length=200, db_index=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    prune = models.BooleanField(default=False, help_text="Repair: delete documents that have no row.")
    unfinished = models.CharField(  # noqa: DJ001 (NULL is not unique, which is the point)
        max_length=200, null=True, unique=True, help_text="Its model until it ends: one job at a time."
    )
    asked_by = models.CharField(max_length=150)
    asked_at = models.DateTimeField(default=DatabaseNow)
    due_at = models.DateTimeField(default=DatabaseNow, help_text="Not claimed before: a lease, or a delay.")
    claim = models.CharField(max_length=24, blank=True, help_text="The holder of the lease.")
    steps = models.BigIntegerField(
        null=True, help_text="The approximate number of rows and documents, or of ranges; null: not started."
    )
    done = models.BigIntegerField(default=0, help_text="Steps done.")
    found = models.BigIntegerField(default=0, help_text="Mismatches that are left.")
    repaired = models.BigIntegerField(default=0)
    note = models.CharField(max_length=255, blank=True, help_text="What it waits for, or why it stopped.")
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.model}"
