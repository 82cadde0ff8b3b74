"""Watches the mirror and alerts people by mail and webhook when it needs attention, and when it has
recovered. Relays do the same while they run; watch also reports that no relay runs, or that MySQL
is unreachable. SYNC_ALERT_EMAILS and SYNC_ALERT_WEBHOOK say who gets alerts.

examples:
  manage.py sync watch           all the time, under a supervisor
  manage.py sync watch --once    evaluate once and send what is due, for cron
  manage.py sync watch --test    send a test message to every channel

exit status:
  0  stopped; with --once no incident is open; with --test every channel accepted the message
  1  with --once an incident is open; with --test a channel failed
  2  wrong usage, or MySQL is unreachable

Next: `manage.py sync status` shows what is wrong.
"""

import argparse
import logging
import time
from typing import Any

from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError
from django.utils.translation import gettext as _

from sync.core import conf
from sync.core.retry import forget_connection
from sync.monitoring import alerts, notifications
from sync.workers import lifetime
from sync.workers.loop import Loop, in_one_line
from sync.workers.shutdown import StopEvent, stop_on_signals

SUMMARY = "alert people when the mirror needs attention"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--once", action="store_true", help="evaluate once and send what is due, then exit")
    either.add_argument("--test", action="store_true", help="send a test message to every channel, then exit")


def run(options: dict[str, Any], out: Any) -> int:
    if options["test"]:
        return _test(out)
    if options["once"]:
        return _once(out)
    stop = StopEvent()
    stop_on_signals(stop)
    outage = DatabaseOutage()
    with lifetime.logged("watch", stop):
        Loop(stop, logger, interval=alerts.interval(), endless=True, recover=outage.goes_on).run(outage.step)
    return 0


def _test(out: Any) -> int:
    results = notifications.send_test()
    if not results:
        raise CommandError("No channel is set: set SYNC_ALERT_EMAILS or SYNC_ALERT_WEBHOOK.", returncode=2)
    for channel, error in results.items():
        out.write(f"{channel}: {error or 'accepted'}")
    return 1 if any(results.values()) else 0


def _once(out: Any) -> int:
    incident = alerts.evaluate()
    notifications.send_due()
    out.write(f"{incident.state}: {incident.summary}" if incident else "No incident is open.")
    return 1 if incident else 0


class DatabaseOutage:
    """Alerts once when MySQL is unreachable for SYNC_ALERT_AFTER seconds, and once when it is back."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.told = False

    def step(self) -> None:
        alerts.work()
        if self.told:
            _tell("recovered", _("Mirror: recovered"), _("The database is reachable again."))
        self.began, self.told = None, False

    def goes_on(self, error: Exception) -> None:
        forget_connection(DEFAULT_DB_ALIAS)
        if not isinstance(error, (DatabaseError, InterfaceError)):
            return
        if self.began is None:
            self.began = time.monotonic()
        if not self.told and time.monotonic() - self.began >= conf.ALERT_AFTER:
            self.told = True
            _tell("opened", _("Mirror: database failed"), in_one_line(error))


def _tell(event: str, subject: str, text: str) -> None:
    for channel, failed in notifications.send_now(event, subject, text).items():
        if failed:
            logger.warning("Alert by %s failed: %s.", channel, failed)
