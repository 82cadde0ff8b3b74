"""Publishes changes to Kafka, for mirrors with a Kafka target ("kafka:" or "kafka:topic"). The
message's key is the row's key; its value is the document as canonical Extended JSON, or null if the
row was deleted. Missing topics are created. To publish existing rows, run `sync backfill`. Runs
until stopped.

Only one publisher is active. When another one starts, it takes over, and the first exits with
status 1. While Kafka is unreachable, changes wait in MySQL.

examples:
  manage.py sync publish           all the time, under a supervisor
  manage.py sync publish --once    publish what is due, for a script or cron

exit status:
  0  stopped, or with --once everything due is published
  1  another publisher has taken over; with --once, the route is paused or some changes were rejected
  2  wrong usage, or a server is unreachable

Next: `manage.py sync status` shows the publisher and the reasons of rejected changes.
"""

import logging
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Min

from sync.cli import relay
from sync.core import conf
from sync.core.clock import database_now
from sync.core.humanize import counted
from sync.mapping.registry import published
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.outbox.mongo_writer import Fenced, State, Writer
from sync.outbox.relay import INTERVAL, Relay, require_read_committed
from sync.workers import lifetime
from sync.workers.heartbeat import PUBLISHER
from sync.workers.lease import Paused
from sync.workers.routes import Route, RoutePause
from sync.workers.shutdown import StopEvent, stop_on_signals

logger = logging.getLogger(__name__)

QUEUE = "kafka"
SUMMARY = "publish changes to Kafka, until stopped"

add_arguments = relay.add_common_arguments


def run(options: dict[str, Any], out: Any) -> int:
    from sync.kafka.publisher import Publisher

    if not published():
        raise CommandError('No mirror has a Kafka target. For example: targets=("", "kafka:my-topic").', returncode=2)
    require_read_committed(DEFAULT_DB_ALIAS)
    stop = StopEvent()
    writer = Publisher()
    relay = publisher(writer, stop, batch=options["batch"], interval=options["interval"])
    try:
        if options["once"]:
            _require_running(relay)
            writer.connect()
            return _once(relay, out)
        stop_on_signals(stop)
        with lifetime.logged("publish", stop, **_facts(relay)):
            try:
                writer.connect()
            except Unavailable as error:
                logger.error("%s. No change is lost; the publisher connects again with the first change.", error)
            relay.run()
    except Fenced as error:
        raise CommandError(str(error), returncode=1) from error
    return 0


def _facts(relay: Relay) -> dict[str, Any]:
    targets = [target.label for target in published()]
    return {"targets": targets, "brokers": conf.KAFKA.get("bootstrap.servers"), "batch": relay.batch}


def publisher(writer: Writer, stop: StopEvent, *, batch: int | None = None, interval: float = INTERVAL) -> Relay:
    """Return a relay that publishes to Kafka. writer: a Publisher, which connects with the first change."""
    return Relay(
        QUEUE, batch=batch, interval=interval, stop=stop, writer=writer, kind=PUBLISHER,
        is_paused=RoutePause(Route.PUBLISH), routes=lambda: {Route.PUBLISH: _behind()},
    )  # fmt: skip


def _behind() -> float:
    """Return for how many seconds the oldest unpublished change has waited; 0 if there is none."""
    waiting = Change.objects.filter(queue=QUEUE, until="", failed=False, settling=False)
    oldest = waiting.aggregate(oldest=Min("recorded_at"))["oldest"]
    return max((database_now(DEFAULT_DB_ALIAS) - oldest).total_seconds(), 0.0) if oldest else 0.0


def _once(publisher: Relay, out: Any) -> int:
    try:
        counts = publisher.drain()
    finally:
        publisher.heartbeat.end()
    out.write(
        f"{counted(counts[State.DELIVERED], 'change', 'changes')} published, {counts[State.REJECTED]:,} rejected."
    )
    _require_running(publisher)
    return 1 if counts[State.REJECTED] else 0


def _require_running(publisher: Relay) -> None:
    """Raise CommandError if the route is paused."""
    if publisher.is_paused():
        raise CommandError(str(Paused(Route.PUBLISH)), returncode=1)
