"""Delivers and confirms the changes that inline delivery has left: large transactions, changes
recorded while MongoDB was unreachable, and the second delivery of deletes. It also runs the jobs
that operators start on the console: verify, repair and backfill. Runs until stopped; run as many
relays as you like.

The first Ctrl-C or SIGTERM lets the relay finish its batch, the second stops it at once. No change
is lost either way.

examples:
  manage.py sync relay                  all the time, under a supervisor
  manage.py sync relay --threads 4      more at a time, if a server responds slowly
  manage.py sync relay --processes 4    more at a time, if the relay keeps one processor busy
  manage.py sync relay --once           deliver what is due, for a script or cron

exit status:
  0  stopped, or with --once everything due is delivered
  1  with --once, some changes were rejected
  2  wrong usage, or a server is unreachable

Next: `manage.py sync status` shows the relay, and the reasons of rejected changes.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS

from sync.cli.arguments import positive
from sync.core import conf
from sync.core.humanize import counted
from sync.jobs import runner
from sync.mapping.registry import all_targets, queues
from sync.mongodb.errors import Unavailable
from sync.monitoring import alerts, history
from sync.outbox.mongo_writer import State
from sync.outbox.relay import INTERVAL, Relay, adopt_orphans, require_read_committed
from sync.workers import lifetime, notify, processes
from sync.workers.heartbeat import RELAY
from sync.workers.processes import helped
from sync.workers.shutdown import StopEvent, stop_on_signals
from sync.workers.supervisor import Component, running

SUMMARY = "deliver what is pending, until stopped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common_arguments(parser)
    add_parallelism(parser)


def add_parallelism(parser: argparse.ArgumentParser) -> None:
    """Add the options of all commands that deliver with relays."""
    parser.add_argument(
        "--processes", type=positive(int), default=1, help="processes that share the keys (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=positive(int), default=2, help="threads for each MongoDB server (default: %(default)s)"
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that relays and publishers share."""
    parser.add_argument("--once", action="store_true", help="deliver what is due now, then exit")
    parser.add_argument("--batch", type=positive(int), help="changes delivered together (default: SYNC_BATCH)")
    parser.add_argument(
        "--interval",
        type=positive(float),
        default=INTERVAL,
        help="longest pause between two looks at an empty queue, in seconds (default: %(default)s)",
    )


def run(options: dict[str, Any], out: Any) -> int:
    require_read_committed(DEFAULT_DB_ALIAS)
    stop = StopEvent()
    if options["once"]:
        if options["processes"] > 1:
            raise CommandError(
                "--once has one process. Leave out --processes; --threads shares the work.", returncode=2
            )
        return _once(_relays(options, stop), out)
    stop_on_signals(stop)
    adopt_orphans(DEFAULT_DB_ALIAS)
    with lifetime.logged("relay", stop, **delivers(options)):
        return serve(options, stop)


def delivers(options: dict[str, Any]) -> dict[str, Any]:
    """Return what relays log that they run with."""
    return {
        "queues": [queue or "default" for queue in queues()],
        "targets": [target.label for target in all_targets() if target.kind.worker == RELAY],
        "batch": options["batch"] or conf.BATCH,
        **{name: options[name] for name in ("interval", "processes", "threads")},
    }


def serve(options: dict[str, Any], stop: StopEvent, *others: Component) -> int:
    """Run relays and other components until stopped. options: processes, threads, batch, interval."""
    more = options["processes"] - 1, "sync.cli.relay.help_to_serve", {**options, "processes": 1}
    relays = _relays(options, stop)
    with helped(*more) as helpers:
        watch = [Component("processes", helpers.replace_dead, processes.LOOK)] if helpers.processes else []
        with running(stop, *_components(relays, stop), *watch, *others):
            notify.wait(stop, [relay.loop for relay in relays])
    return 0


def help_to_serve(options: dict[str, Any]) -> int:
    """Run relays in a further process."""
    stop = StopEvent()
    stop_on_signals(stop)
    return serve(options, stop)


def _components(relays: list[Relay], stop: StopEvent) -> list[Component]:
    """Return what a relay process runs: relays, and the tasks of operators, samples and alerts."""
    return [
        *(Component(relay.queue or "relay", relay.run) for relay in relays),
        Component("jobs", lambda: runner.work_all(stop), runner.LOOK, runner.BELL),
        Component("samples", history.work, history.EVERY / 3),
        Component("alerts", alerts.work, alerts.interval()),
    ]


def _relays(options: dict[str, Any], stop: StopEvent) -> list[Relay]:
    return [
        Relay(queue, batch=options["batch"], interval=options["interval"], threads=options["threads"], stop=stop)
        for queue in queues()
    ]


def _once(relays: list[Relay], out: Any) -> int:
    adopt_orphans(DEFAULT_DB_ALIAS)
    written = rejected = 0
    unreachable: list[Unavailable] = []
    for relay in relays:
        try:
            counts = relay.drain()
        except Unavailable as error:
            unreachable.append(error)  # the other queues are still delivered
        else:
            written += counts[State.DELIVERED] + counts[State.DELETED]
            rejected += counts[State.REJECTED]
        finally:
            relay.heartbeat.end()
    out.write(f"{counted(written, 'change', 'changes')} delivered, {rejected:,} rejected.")
    if unreachable:
        raise unreachable[0]
    return 1 if rejected else 0
