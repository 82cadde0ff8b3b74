"""The dead letters of pulls: documents that do not fit their models."""

from __future__ import annotations

from django.db import models

from sync.core.clock import DatabaseNow


class DeadLetter(models.Model):
    """A document that the table of its model cannot store. If the document has a row, that row is unchanged.

    The puller retries it from time to time, and removes it when the document fits or is deleted.
    """

    id = models.CharField(primary_key=True, max_length=64, help_text="SHA-256 of model and _id.")
    model = models.CharField(max_length=100, db_index=True)
    key = models.CharField(max_length=255, help_text="The document's _id, for display.")
    document_key = models.BinaryField(help_text='BSON of {"_id": ...}.')
    reason = models.TextField()
    failed_at = models.DateTimeField(default=DatabaseNow)
    tried_at = models.DateTimeField(default=DatabaseNow, db_index=True)

    def __str__(self) -> str:
        return f"{self.model} {self.key}: {self.reason}"
