"""Delivers to MongoDB what inline delivery has left: big transactions, what was written while MongoDB was away, and
the second delivery of deletes. It also does what the console asks for: verify, repair, backfill. Runs until it is
stopped; run as many as you like.

The first Ctrl-C (or SIGTERM) finishes the batch at hand, the second stops at once: nothing is lost either way.
"""

import argparse
import logging
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from sync.core.humanize import counted
from sync.jobs import runner
from sync.jobs.periodic import PeriodicTask, beside
from sync.mapping.registry import queues
from sync.mongodb.errors import Unavailable
from sync.monitoring import history
from sync.outbox.mongo_writer import State
from sync.outbox.relay import INTERVAL, Relay, adopt_orphans, require_read_committed, run_all
from sync.workers.shutdown import StopEvent, stop_on_signals

SUMMARY = "deliver what is pending, until stopped"


def positive(kind: type) -> Any:
    """An argparse type: a number of `kind` above zero."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    parse.__name__ = kind.__name__
    return parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common_arguments(parser)
    parser.add_argument(
        "--threads", type=positive(int), default=2, help="side by side, for each server (default: %(default)s)"
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of a publisher, too."""
    parser.add_argument("--once", action="store_true", help="deliver what is due now, and end")
    parser.add_argument("--batch", type=positive(int), help="changes claimed at once (default: SYNC_BATCH)")
    parser.add_argument(
        "--interval", type=positive(float), default=INTERVAL, help="seconds between two looks (default: %(default)s)"
    )


def run(options: dict[str, Any], out: Any) -> int:
    require_read_committed(DEFAULT_DB_ALIAS)
    stop = StopEvent()
    relays = [
        Relay(queue, batch=options["batch"], interval=options["interval"], stop=stop)
        for _ in range(options["threads"])
        for queue in queues()
    ]
    if options["once"]:
        return _once(relays[: len(queues())], out)
    stop_on_signals(stop)
    logging.getLogger("sync").info("The relay is at work, %s at a time.", counted(relays[0].batch, "change", "changes"))
    with beside(
        stop,
        PeriodicTask("jobs", runner.LOOK, lambda: runner.work(stop)),
        PeriodicTask("samples", history.EVERY / 3, history.take),
    ):
        run_all(relays)
    return 0


def _once(relays: list[Relay], out: Any) -> int:
    adopt_orphans(DEFAULT_DB_ALIAS)
    written = rejected = 0
    away: list[Unavailable] = []
    for relay in relays:
        try:
            counts = relay.drain()
        except Unavailable as error:
            away.append(error)  # the other queues go on
        else:
            written += counts[State.DELIVERED] + counts[State.DELETED]
            rejected += counts[State.REJECTED]
    out.write(f"{counted(written, 'key', 'keys')} delivered, {rejected} rejected.")
    if away:
        raise away[0]
    return 1 if rejected else 0
