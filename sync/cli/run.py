"""Runs in one process what the settings call for, with one log, until stopped:

  the relay          always; see `sync relay`
  the follower       with SYNC_FOLLOW_BINLOG; see `sync follow-binlog`
  the publisher      if a mirror has a Kafka target; see `sync publish`
  the pullers        one for each pulled model; see `sync pull`
  verification       of every model, each SYNC_VERIFY_EVERY seconds

If one of them fails, the reason is logged, it is retried, and the others continue. Run this command
on two machines to survive the loss of one. Both relays deliver. The follower, the publisher and each
puller run on one machine, and stand by on the other.

The first Ctrl-C or SIGTERM lets all finish their batches, the second stops them at once. No change
is lost either way.

examples:
  manage.py sync run                all the time, under a supervisor
  manage.py sync run --processes 4  four processes with relays, the first with all other workers

exit status:
  0  stopped
  2  wrong usage, or a server is unreachable at start

Next: `manage.py sync status` shows each worker, and what it waits for.
"""

import argparse
import functools
import logging
from collections.abc import Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from sync.cli import publish, relay
from sync.core import conf
from sync.core.humanize import duration
from sync.jobs import schedule
from sync.mapping.registry import label, published
from sync.monitoring import queries
from sync.outbox.mongo_writer import Fenced
from sync.outbox.relay import INTERVAL, adopt_orphans, require_read_committed
from sync.replication.pulled import PulledModel, pulled_models
from sync.replication.puller import Puller
from sync.workers import lifetime
from sync.workers.heartbeat import BEAT, PUBLISHER, SILENCE
from sync.workers.shutdown import StopEvent, stop_on_signals
from sync.workers.supervisor import Component

SUMMARY = "run all workers that the settings call for, until stopped"

logger = logging.getLogger("sync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    relay.add_parallelism(parser)


def run(options: dict[str, Any], out: Any) -> int:
    require_read_committed(DEFAULT_DB_ALIAS)
    stop = StopEvent()
    stop_on_signals(stop)
    adopt_orphans(DEFAULT_DB_ALIAS)
    others = list(_others(stop))
    options = {**options, "batch": None, "interval": INTERVAL}
    parts = ["relay", *(component.name for component in others)]
    with lifetime.logged("run", stop, parts=parts, **relay.delivers(options)):
        return relay.serve(options, stop, *others)


def _others(stop: StopEvent) -> Iterator[Component]:
    """Yield what the settings call for, besides the relay."""
    if conf.FOLLOW_BINLOG:
        yield Component("follow-binlog", functools.partial(_follow, stop))
    if published():
        yield Component("publish", functools.partial(_publish, stop))
    for model in pulled_models():
        yield Component(f"pull {label(model)}", functools.partial(_pull, model, stop))
    if conf.VERIFY_EVERY > 0:
        every = f"verify every {duration(conf.VERIFY_EVERY)}"
        yield Component(every, schedule.add_due, min(schedule.LOOK, conf.VERIFY_EVERY))


def _follow(stop: StopEvent) -> None:
    # Imported here: the library is slow to load, and without the setting it may be missing.
    from sync.binlog.follower import Follower

    Follower(stop=stop, stand_by=True).run()


def _pull(model: type[PulledModel], stop: StopEvent) -> None:
    puller = Puller([model], stop=StopEvent(stop))  # a puller that fails sets its event
    puller.lease(stand_by=True)
    try:
        puller.run()
    finally:
        puller.release()


def _publish(stop: StopEvent) -> None:
    """Publish, unless another process does. To connect would end that process's publisher."""
    from sync.kafka.publisher import Publisher

    while any(worker.kind == PUBLISHER and worker.alive for worker in queries.workers(DEFAULT_DB_ALIAS)):
        if stop.wait(BEAT):
            return
    try:
        publish.publisher(Publisher(), stop).run()
    except Fenced as error:
        logger.info("publish: standing by. %s", error)
        stop.wait(SILENCE[PUBLISHER])  # until the other process shows in the table of workers
