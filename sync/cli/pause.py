"""Stops delivering a model, or stops a route, or both for everything.

MODEL is a mirrored model: its changes are kept, and neither inline delivery nor a relay delivers them. ROUTE is one of
those that `sync status` lists: pull:MODEL, copy:ADDRESS, follow-binlog, publish, consume:GROUP, or a kind alone for all
of it. A paused route keeps its checkpoint, and goes on from there. Saving goes on in any case.

examples:
  manage.py sync pause account             while a wrong mapping is being fixed
  manage.py sync pause pull:sale publish   two routes
  manage.py sync pause                     everything, for work on MongoDB

Pausing takes effect within a second. A source that forgets changes meanwhile (an oplog, a binary log, a topic) costs a
comparison of everything when the route is resumed.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from sync.mapping.registry import chosen_targets
from sync.monitoring.routes import chosen_routes, set_route_paused
from sync.outbox.actions import set_paused
from sync.workers.models import Checkpoint

SUMMARY = "stop delivering a model, or stop a route; nothing is lost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="MODEL|ROUTE", help="such as account or pull:sale; default: all")


def run(options: dict[str, Any], out: Any) -> int:
    out.write("\n".join([*apply(options["names"], paused=True), "Resume with: manage.py sync resume"]))
    return 0


def apply(names: list[str], *, paused: bool) -> Iterator[str]:
    """Pauses or resumes what a command line names; everything, when it names nothing. Raises CommandError."""
    routes, others = chosen_routes(names)
    if not names:
        routes = list(Checkpoint.objects.order_by("name").values_list("name", flat=True))
    if others or not names:
        yield from set_paused([target.label for target in chosen_targets(others)], paused=paused)
    for name in routes:
        yield set_route_paused(name, paused=paused)
