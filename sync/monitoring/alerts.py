"""Incidents: opened when the mirror needs attention for a while, closed when it has been good for a while.

Any number of processes may evaluate at the same time:

1. The active incident is unique in the database, and a process locks its row before it changes it.
2. The transaction that opens or closes an incident also records one notification for each channel.
3. A process claims a notification before it sends it (sync/monitoring/notifications.py).
"""

from __future__ import annotations

import functools
from datetime import timedelta

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.utils.translation import gettext as _

from sync.core import conf
from sync.core.clock import database_now
from sync.core.compiled import Statement
from sync.core.humanize import duration
from sync.core.retry import retry_on_deadlock
from sync.monitoring import notifications
from sync.monitoring.models import Incident, Notification
from sync.monitoring.status import LAGGING, MEANS, NEEDS_ATTENTION, WORDS, Counts, Status, status

EVERY = 15.0  # seconds between two evaluations of a process
KEPT = timedelta(days=90)  # how long closed incidents are kept


@functools.cache
def _any_active(using: str) -> Statement:
    return Statement.exists(Incident.objects.using(using).filter(active=True))


def interval() -> float:
    """Seconds between two evaluations: at least two in the time after which an incident opens."""
    return min(EVERY, max(conf.ALERT_AFTER / 2, 0.2))


def work(using: str = DEFAULT_DB_ALIAS) -> None:
    """Evaluate the status, then send the notifications that are due."""
    evaluate(using)
    notifications.send_due(using)


def evaluate(using: str = DEFAULT_DB_ALIAS) -> Incident | None:
    """Open, update or close the incident by the mirror's status. Return the open incident, if there is one."""
    now = status(using, counts=Counts(database_now(using), {}, {}))
    state = now.word
    is_bad = state in NEEDS_ATTENTION or (state == LAGGING and now.age > conf.ALERT_LAG)
    if not is_bad and not _any_active(using).fetch():
        return None
    try:
        incident = _update(state, summary(now), is_bad, using)
    except IntegrityError:  # another process has begun the incident in this moment
        incident = None
    return incident if incident and incident.opened_at and not incident.closed_at else None


def summary(now: Status) -> str:
    """Return what is wrong in one or two sentences."""
    if now.mongodb_error:
        return f"{WORDS[now.word]} ({now.mongodb_error})"
    if now.word == LAGGING:
        return _("The oldest pending change has waited for %s.") % duration(now.age)
    return MEANS[now.word]


@retry_on_deadlock
def _update(state: str, text: str, is_bad: bool, using: str) -> Incident | None:
    incidents = Incident.objects.using(using)
    with transaction.atomic(using):
        incident = incidents.select_for_update().filter(active=True).first()
        now = database_now(using)
        if incident is None:
            if not is_bad:
                return None
            incident = Incident(began_at=now)
        after = timedelta(seconds=conf.ALERT_AFTER)
        if is_bad:
            incident.state, incident.summary, incident.good_since = state, text, None
            if incident.opened_at is None and now - incident.began_at >= after:
                incident.opened_at = now
                incident.save(using=using)
                _record(incident, Notification.Event.OPENED, using)
        elif incident.opened_at is None:
            incident.delete()  # it was too short to tell people
            return None
        else:
            incident.good_since = incident.good_since or now
            if now - incident.good_since >= after:
                incident.closed_at, incident.active = now, None
                _record(incident, Notification.Event.RECOVERED, using)
                incidents.filter(closed_at__lt=now - KEPT).delete()
        incident.save(using=using)
        return incident


def _record(incident: Incident, event: Notification.Event, using: str) -> None:
    Notification.objects.using(using).bulk_create(
        Notification(incident=incident, event=event, channel=channel, due_at=database_now(using))
        for channel in notifications.channels()
    )
