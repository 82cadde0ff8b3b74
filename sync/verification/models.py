"""What is stored of verify's runs."""

from __future__ import annotations

from django.db import models

from sync.core.clock import DatabaseNow
from sync.mapping.diff import FieldDifference


class Verification(models.Model):
    """One run of verify over one model, for the status page; unfinished ones can be resumed."""

    model = models.CharField(max_length=200, db_index=True)
    mode = models.CharField(max_length=10, choices=[("full", "full"), ("sampled", "sampled"), ("strict", "strict")])
    started_at = models.DateTimeField(default=DatabaseNow)
    finished_at = models.DateTimeField(null=True)
    position = models.TextField(blank=True, help_text="Where to continue after an interruption; empty: at the start.")
    error = models.TextField(blank=True, db_default="", help_text="Why it was interrupted.")
    compared = models.BigIntegerField(default=0)
    pending = models.BigIntegerField(default=0)
    found = models.BigIntegerField(default=0, help_text="Mismatches, without those that it has repaired.")

    def __str__(self) -> str:
        return f"{self.model}, {self.mode}, {self.started_at:%Y-%m-%d %H:%M}"

    def found_mismatches(self) -> models.QuerySet[Mismatch]:
        """What this run has found and not repaired, in order of the key, as long as no later run has other results."""
        found = Mismatch.objects.using(self._state.db).filter(model=self.model, last_seen__gte=self.started_at)
        return found.order_by("key")

    @property
    def mismatches(self) -> list[Mismatch]:
        """All of them, in memory."""
        return list(self.found_mismatches())


class Mismatch(models.Model):
    """A key whose document did not match its row in the last verify; removed when they match."""

    model = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    kind = models.CharField(max_length=20)
    fields = models.JSONField(
        default=list, help_text="The fields that differ and how, without values: FieldDifference."
    )
    first_seen = models.DateTimeField(default=DatabaseNow)
    last_seen = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "key"], name="sync_difference_key")]

    def __str__(self) -> str:
        return f"{self.model} {self.key}: {self.kind}" + (f" ({self.what})" if self.fields else "")

    @property
    def what(self) -> str:
        """The fields that differ and how, in one line."""
        return ", ".join(str(FieldDifference(**data)) for data in self.fields)
