"""What the rows of pulled models could not hold."""

from __future__ import annotations

from django.db import models

from sync.core.clock import DatabaseNow


class DeadLetter(models.Model):
    """A document that its model cannot hold in its current state. Its row, if there is one, stays unchanged.

    Removed when the document changes to something that fits, or is deleted. Retried at intervals.
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
