"""Sends notifications: each is claimed by one process, and retried with increasing pauses until it is accepted."""

from __future__ import annotations

import functools
import logging
from datetime import timedelta

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from sync.core import conf
from sync.core.clock import database_now
from sync.core.compiled import Statement
from sync.core.humanize import duration, moment
from sync.mapping.fields import new_object_id
from sync.monitoring.channels import Message, send
from sync.monitoring.models import Incident, Notification
from sync.monitoring.status import TITLES

logger = logging.getLogger(__name__)

CLAIM = timedelta(minutes=2)  # longer than sending takes
LONGEST_PAUSE = 600  # seconds between two attempts
GIVEN_UP = timedelta(days=1)  # after which a message is too old to send


def channels() -> list[Notification.Channel]:
    """Return the channels that the settings name."""
    configured = {Notification.Channel.MAIL: conf.ALERT_EMAILS, Notification.Channel.WEBHOOK: conf.ALERT_WEBHOOK}
    return [channel for channel, address in configured.items() if address]


@functools.cache
def _any_unsent(using: str) -> Statement:
    return Statement.exists(Notification.objects.using(using).filter(sent_at=None))


def send_due(using: str = DEFAULT_DB_ALIAS) -> None:
    """Send each notification that is due and that no other process sends. A recovery waits for its incident's first."""
    if not _any_unsent(using).fetch():
        return
    now = database_now(using)
    rows = Notification.objects.using(using)
    earlier = rows.filter(
        incident=OuterRef("incident"), channel=OuterRef("channel"), pk__lt=OuterRef("pk"), sent_at=None
    )
    due = rows.filter(
        ~Exists(earlier), sent_at=None, due_at__lte=now, channel__in=channels(), incident__began_at__gt=now - GIVEN_UP
    )
    for notification in due.select_related("incident").order_by("pk"):
        _send(notification, using)


def _send(notification: Notification, using: str) -> None:
    row = Notification.objects.using(using).filter(pk=notification.pk, sent_at=None)
    attempts = notification.attempts + 1
    now = database_now(using)
    # Two processes see the same number of attempts, and only one can raise it.
    if not row.filter(attempts=notification.attempts).update(attempts=attempts, due_at=now + CLAIM):
        return
    error = send(notification.channel, message(notification.incident, notification.event))
    now = database_now(using)
    if not error:
        row.update(sent_at=now, error="")
        return
    logger.warning("Alert by %s failed: %s. Retrying.", notification.channel, error)
    pause = timedelta(seconds=min(2.0**attempts, LONGEST_PAUSE))
    row.filter(attempts=attempts).update(error=error[:200], due_at=now + pause)


def message(incident: Incident, event: str) -> Message:
    """Return what people are told about an incident."""
    is_over = event == Notification.Event.RECOVERED
    if is_over and incident.closed_at:
        subject = _("Mirror: recovered")
        lasted = duration((incident.closed_at - incident.began_at).total_seconds())
        text = _("The mirror works again. The incident lasted %(lasted)s: %(summary)s") % {
            "lasted": lasted, "summary": incident.summary
        }  # fmt: skip
    else:
        subject = _("Mirror: %s") % TITLES.get(incident.state, incident.state)
        text = _("%(summary)s\nSince %(since)s.") % {
            "summary": incident.summary, "since": moment(incident.began_at)
        }  # fmt: skip
    details = {
        "incident": incident.pk,
        "state": incident.state,
        "summary": incident.summary,
        "began_at": incident.began_at.isoformat(),
        "closed_at": incident.closed_at.isoformat() if incident.closed_at else None,
    }
    return Message(f"{incident.pk}.{event}", event, subject, text, details)


def send_now(event: str, subject: str, text: str) -> dict[Notification.Channel, str]:
    """Send a message to every channel once, without the database. Return the error of each; "" is success."""
    told = Message(new_object_id(), event, subject, text, {})
    return {channel: send(channel, told) for channel in channels()}


def send_test() -> dict[Notification.Channel, str]:
    """Send a test message to every channel."""
    return send_now("test", _("Mirror: test"), _("This is a test of the mirror's alerts. Nothing has happened."))
