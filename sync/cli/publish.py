"""Publishes the changes of mirrors that name a topic ("kafka:" or "kafka:topic") to Kafka, until stopped: the key is
the row's, the value its document as canonical Extended JSON, or nothing when the row is gone. Rows that were there
before are published by `sync backfill`. Topics that do not exist are made.

One publisher is active. Starting another one takes over from it: the first then ends, with exit status 1, whatever it
was doing, and however long it was frozen. Changes wait in MySQL while Kafka is away.

Exit status 0: stopped, or with --once all that was due is published; 1: another publisher has taken over, or some rows
were refused; 2: wrong use, or a server is out of reach.
"""

import logging
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Min

from sync.cli import relay
from sync.core.clock import database_now
from sync.core.humanize import counted
from sync.mapping.registry import published
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.outbox.mongo_writer import Fenced, State
from sync.outbox.relay import Relay, require_read_committed
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
        raise CommandError('No mirror names a topic: targets=("", "kafka:my-topic"), for example.', returncode=2)
    require_read_committed(DEFAULT_DB_ALIAS)
    stop = StopEvent()
    writer = Publisher()
    publisher = Relay(
        QUEUE, batch=options["batch"], interval=options["interval"], stop=stop, writer=writer, kind=PUBLISHER,
        is_paused=RoutePause(Route.PUBLISH), routes=lambda: {Route.PUBLISH: _behind()},
    )  # fmt: skip
    try:
        if options["once"]:
            _require_running(publisher)
            writer.connect()
            return _once(publisher, out)
        stop_on_signals(stop)
        try:
            writer.connect()
            logger.info("The publisher is at work, %s at a time.", counted(publisher.batch, "change", "changes"))
        except Unavailable as error:
            logger.error("%s. Nothing is lost; trying again with the first change.", error)
        publisher.run()
    except Fenced as error:
        raise CommandError(str(error), returncode=1) from error
    return 0


def _behind() -> float:
    """Seconds for which the oldest change that is to be published has waited."""
    waiting = Change.objects.filter(queue=QUEUE, until="", failed=False, settling=False)
    oldest = waiting.aggregate(oldest=Min("recorded_at"))["oldest"]
    return max((database_now(DEFAULT_DB_ALIAS) - oldest).total_seconds(), 0.0) if oldest else 0.0


def _once(publisher: Relay, out: Any) -> int:
    counts = publisher.drain()
    out.write(f"{counted(counts[State.DELIVERED], 'key', 'keys')} published, {counts[State.REJECTED]} rejected.")
    _require_running(publisher)
    return 1 if counts[State.REJECTED] else 0


def _require_running(publisher: Relay) -> None:
    """Raises CommandError while the route is paused."""
    if publisher.is_paused():
        raise CommandError(str(Paused(Route.PUBLISH)), returncode=1)
