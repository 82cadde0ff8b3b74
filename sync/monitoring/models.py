"""Samples of the mirror's status over time with their summaries, and incidents with their notifications."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


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


class SampleSummary(models.Model):
    """The samples of one period, such as an hour, for charts of longer ranges."""

    step = models.PositiveIntegerField(help_text="Seconds of the period.")
    slot = models.BigIntegerField(help_text="Seconds since 1970 by step.")
    measures = models.JSONField(help_text="[minimum, mean, maximum] of each of history.MEASURES that has a value.")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["step", "slot"], name="sync_samplesummary_once")]

    def __str__(self) -> str:
        return f"{self.slot} by {self.step}"


class Incident(models.Model):
    """A time during which the mirror needs attention. `active` is unique, so at most one is not closed."""

    active = models.BooleanField(null=True, default=True, unique=True, help_text="True until it is closed, then null.")
    state = models.CharField(max_length=20, help_text="A key of status.WORDS.")
    summary = models.TextField()
    began_at = models.DateTimeField(help_text="When the state was first seen.")
    opened_at = models.DateTimeField(null=True, help_text="Null: it has not lasted long enough to tell people.")
    good_since = models.DateTimeField(null=True, help_text="Null: the mirror still needs attention.")
    closed_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.summary


class Notification(models.Model):
    """One message of an incident to one channel. Processes claim it before they send it."""

    class Event(models.TextChoices):
        OPENED = "opened", _("opened")
        RECOVERED = "recovered", _("recovered")

    class Channel(models.TextChoices):
        MAIL = "mail", _("mail")
        WEBHOOK = "webhook", _("webhook")

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="notifications")
    event = models.CharField(max_length=10, choices=Event)
    channel = models.CharField(max_length=10, choices=Channel)
    due_at = models.DateTimeField(help_text="When to send it next; while a process sends it, the end of its claim.")
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=200, blank=True, help_text="Why the last attempt failed.")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["incident", "event", "channel"], name="sync_notification_once"),
        ]

    def __str__(self) -> str:
        return f"{self.get_event_display()}, {self.get_channel_display()}"
