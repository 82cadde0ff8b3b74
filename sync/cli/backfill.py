"""Delivers every row to MongoDB again, beside live traffic: for the first mirror of existing data, or when documents
were lost. A migration or a changed mapping plans the same by itself.

The work is planned in ranges of rows, which this command and every relay deliver side by side. It may be stopped at
any time: what is left goes on with the relays, or with --resume. Rows that cannot be written now are left to the
relay, each by itself.

Exit status 0: every row is delivered; 1: some are left to the relay; 2: a server is out of reach.
"""

import argparse
import time
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from sync.cli.progress import progress_bar
from sync.cli.relay import positive
from sync.core.humanize import counted
from sync.mapping.registry import KAFKA, chosen_targets
from sync.outbox import backfill
from sync.outbox.mongo_writer import State

SUMMARY = "deliver every row"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="such as account; default: all")
    parser.add_argument("--rate", type=positive(float), help="rows a second at most, of all processes together")
    parser.add_argument("--resume", action="store_true", help="do not plan anew, only deliver what is planned")
    parser.add_argument("--plan-only", action="store_true", help="leave the delivery to the relays")


def run(options: dict[str, Any], out: Any) -> int:
    targets = chosen_targets(options["models"])
    if not options["resume"]:
        for target in targets:
            rows = backfill.plan(target, rate=options["rate"])
            out.write(f"{target.label}: {counted(rows, 'row', 'rows')} to deliver")
    if options["plan_only"]:
        return 0
    counts = dict.fromkeys(State, 0)
    mine = [target for target in targets if target.queue != KAFKA]  # those are published, not written
    for queue in {target.queue: None for target in mine}:
        _deliver(queue, [target.label for target in mine if target.queue == queue], counts)
    left = counts[State.CONFLICT] + counts[State.REJECTED]
    out.write(f"{counted(counts[State.DELIVERED], 'row', 'rows')} delivered here, {left:,} left to the relay")
    return 1 if left else 0


def _deliver(queue: str, labels: list[str], counts: dict[State, int]) -> None:
    before = backfill.left(DEFAULT_DB_ALIAS, labels)
    with progress_bar("Ranges of rows", before) as advance:
        while before:
            done = backfill.work(DEFAULT_DB_ALIAS, labels, queue)
            if done is None:
                time.sleep(0.2)  # others are at the last ranges, or the rate holds them back
            else:
                for state, count in done[1].items():
                    counts[state] += count
            now = backfill.left(DEFAULT_DB_ALIAS, labels)
            advance(before - now)
            before = now
