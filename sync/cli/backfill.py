"""Delivers every row to its targets again. Use it for the first mirror of existing rows, or after
documents were lost. Migrations and changed mappings plan their own backfill.

The command plans ranges of rows, then delivers them together with all running relays, while the
application keeps writing. It can be stopped at any time: the relays deliver the remaining ranges,
or you continue with --resume. A row that cannot be written is left to the relay, which retries it.
Publishers deliver the ranges of Kafka targets.

examples:
  manage.py sync backfill                        every mirrored model
  manage.py sync backfill account --rate 500     one model, at most 500 rows per second
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
import time
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from sync.cli.progress import progress_bar
from sync.cli.relay import positive
from sync.core.humanize import counted
from sync.mapping.registry import chosen_targets
from sync.outbox import backfill
from sync.outbox.mongo_writer import State

SUMMARY = "deliver every row again, for a first mirror or after a loss"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="a model, such as account; default: all")
    parser.add_argument("--rate", type=positive(float), help="at most this many rows per second, over all processes")
    parser.add_argument("--resume", action="store_true", help="deliver the ranges already planned")
    parser.add_argument("--plan-only", action="store_true", help="plan the ranges, and let the relays deliver them")


def run(options: dict[str, Any], out: Any) -> int:
    targets = chosen_targets(options["models"])
    if not options["resume"]:
        for target in targets:
            rows = backfill.plan(target, rate=options["rate"])
            out.write(f"{target.label}: {counted(rows, 'row', 'rows')} to deliver")
    if options["plan_only"]:
        return 0
    counts = dict.fromkeys(State, 0)
    mine = [target for target in targets if target.kind.worker == "relay"]
    for queue in {target.queue: None for target in mine}:
        _deliver(queue, [target.label for target in mine if target.queue == queue], counts)
    left = counts[State.CONFLICT] + counts[State.REJECTED]
    out.write(f"{counted(counts[State.DELIVERED], 'row', 'rows')} delivered, {left:,} left to the relay")
    return 1 if left else 0


def _deliver(queue: str, labels: list[str], counts: dict[State, int]) -> None:
    before = backfill.left(DEFAULT_DB_ALIAS, labels)
    with progress_bar("Ranges of rows", before) as advance:
        while before:
            done = backfill.work(DEFAULT_DB_ALIAS, labels, queue)
            if done is None:
                time.sleep(0.2)  # other processes have claimed the last ranges, or the rate limit applies
            else:
                for state, count in done[1].items():
                    counts[state] += count
            now = backfill.left(DEFAULT_DB_ALIAS, labels)
            advance(before - now)
            before = now
