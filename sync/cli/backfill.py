"""Delivers every row to its targets again. Use it for the first mirror of existing rows, or after
documents were lost. Migrations and changed mappings plan their own backfill.

The command plans ranges of rows, then delivers them together with all running relays, while the
application keeps writing. It can be stopped at any time: the relays deliver the remaining ranges,
or you continue with --resume. A row that cannot be written is left to the relay, which retries it.
Publishers deliver the ranges of Kafka targets.

examples:
  manage.py sync backfill                        every mirrored model
  manage.py sync backfill account --rate 500     one model, at most 500 rows per second
  manage.py sync backfill --processes 4          four processes share the ranges
  manage.py sync backfill --plan-only            return at once; the relays deliver
  manage.py sync backfill --resume               continue a backfill that was stopped

exit status:
  0  every row is delivered, or planned with --plan-only
  1  some rows are left to the relay
  2  wrong usage, or a server is unreachable

Next: run `manage.py sync status` for rows that failed, and `manage.py sync verify` to compare both
databases.
"""

import argparse
import multiprocessing
import time
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from sync.cli.arguments import positive
from sync.cli.progress import progress_bar
from sync.core.humanize import counted
from sync.mapping.registry import chosen_targets
from sync.outbox import backfill
from sync.outbox.mongo_writer import State
from sync.workers.processes import helped

Counts = Any  # a shared array of the number of keys in each state

SUMMARY = "deliver every row again, for a first mirror or after a loss"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="a model, such as account; default: all")
    parser.add_argument("--rate", type=positive(float), help="at most this many rows per second, over all processes")
    parser.add_argument("--resume", action="store_true", help="deliver the ranges already planned")
    parser.add_argument(
        "--processes", type=positive(int), default=1, help="processes that share the ranges (default: %(default)s)"
    )
    parser.add_argument("--plan-only", action="store_true", help="plan the ranges, and let the relays deliver them")


def run(options: dict[str, Any], out: Any) -> int:
    targets = chosen_targets(options["models"])
    if not options["resume"]:
        for target in targets:
            rows = backfill.plan(target, rate=options["rate"])
            out.write(f"{target.label}: {counted(rows, 'row', 'rows')} to deliver")
    if options["plan_only"]:
        return 0
    counts: Counts = multiprocessing.get_context("spawn").Array("q", len(State))
    mine: dict[str, list[str]] = {}
    for target in targets:
        if target.kind.worker == "relay":
            mine.setdefault(target.queue, []).append(target.label)
    with helped(options["processes"] - 1, "sync.cli.backfill.help_to_deliver", mine, counts) as helpers:
        for queue, labels in mine.items():
            _deliver(queue, labels, counts)
        is_well = helpers.wait()
    found = dict(zip(State, counts, strict=True))
    left = found[State.CONFLICT] + found[State.REJECTED]
    out.write(f"{counted(found[State.DELIVERED], 'row', 'rows')} delivered, {left:,} left to the relay")
    return 1 if left or not is_well else 0


def help_to_deliver(mine: dict[str, list[str]], counts: Counts) -> int:
    """Deliver ranges in a further process. mine: the targets' labels by queue."""
    for queue, labels in mine.items():
        _deliver(queue, labels, counts, shown=False)
    return 0


def _deliver(queue: str, labels: list[str], counts: Counts, *, shown: bool = True) -> None:
    before = backfill.left(DEFAULT_DB_ALIAS, labels)
    with progress_bar("Ranges of rows", before, shown) as advance:
        while before:
            done = backfill.work(DEFAULT_DB_ALIAS, labels, queue)
            if done is None:
                time.sleep(0.2)  # other processes have claimed the last ranges, or the rate limit applies
            else:
                with counts.get_lock():
                    for place, state in enumerate(State):
                        counts[place] += done[1][state]
            now = backfill.left(DEFAULT_DB_ALIAS, labels)
            advance(before - now)
            before = now
