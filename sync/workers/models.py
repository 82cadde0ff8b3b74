"""The rows in which workers tell that they live."""

from __future__ import annotations

from django.db import models

from sync.core.clock import DatabaseNow
from sync.mapping.fields import new_object_id


class Worker(models.Model):
    """A process that delivers: a relay, or a web process with inline delivery. Gone when its heartbeat stops."""

    id = models.CharField(primary_key=True, max_length=24, default=new_object_id)
    kind = models.CharField(max_length=20)
    host = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    lane = models.CharField(max_length=50, blank=True, help_text="The alias of the server that it delivers to.")
    started_at = models.DateTimeField(default=DatabaseNow)
    heartbeat_at = models.DateTimeField(db_index=True)
    delivered = models.BigIntegerField(default=0, help_text="Keys, since it started.")
    rate = models.FloatField(default=0, help_text="Keys a second, over the last interval.")
    lags = models.JSONField(default=dict, help_text="From commit to delivery, as stats.Lags counts them.")
    note = models.CharField(max_length=255, blank=True, help_text="What it is waiting for.")

    def __str__(self) -> str:
        return f"{self.kind} {self.pid} on {self.host}"
