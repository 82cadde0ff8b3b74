"""The sweeps that the follower has planned."""

from __future__ import annotations

from django.db import models


class Sweep(models.Model):
    """A planned search for a model's orphans: documents whose rows were removed without a logged row (TRUNCATE)."""

    model = models.CharField(max_length=200)
    due_at = models.DateTimeField()
    after = models.TextField(blank=True, help_text="The last _id checked, in Extended JSON.")

    def __str__(self) -> str:
        return f"{self.model} after {self.after or 'nothing'}"
