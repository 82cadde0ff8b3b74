"""Samples of the mirror's status over time."""

from __future__ import annotations

from django.db import models


class Sample(models.Model):
    """The mirror's status at one moment, for charts. Relays take one sample per slot."""

    slot = models.BigIntegerField(primary_key=True, help_text="Seconds since 1970 by samples.EVERY.")
    pending = models.BigIntegerField(null=True)
    oldest_age = models.FloatField(null=True, help_text="Seconds; null: nothing is pending.")
    rate = models.FloatField(null=True, help_text="Keys per second; null: no worker was alive.")
    p50 = models.FloatField(null=True, help_text="Seconds from commit to delivery; null: nothing was delivered.")
    p99 = models.FloatField(null=True)

    def __str__(self) -> str:
        return str(self.slot)
