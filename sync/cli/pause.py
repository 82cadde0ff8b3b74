"""Pauses the delivery of a model, a route, or everything. No change is lost: changes wait in MySQL,
and a paused route keeps its checkpoint and continues from there. Applications can save all the
time.

MODEL is a mirrored model. ROUTE is a route that `sync status` lists: pull:MODEL, copy:ADDRESS,
follow-binlog, publish or consume:GROUP. A kind alone, such as pull, stands for all its routes. A
pause takes effect within a second.

If a route stays paused until its source (an oplog, a binary log or a topic) has removed the changes
after the checkpoint, resuming it compares everything.

examples:
  manage.py sync pause account             while you fix a wrong mapping
  manage.py sync pause pull:sale publish   two routes
  manage.py sync pause                     everything, for maintenance of MongoDB

exit status:
  0  done
  2  no such model or route, or a server is unreachable

Next: `manage.py sync resume` with the same names.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from sync.mapping.registry import chosen_targets
from sync.monitoring.routes import chosen_routes, known_routes, set_route_paused
from sync.outbox.actions import set_paused
from sync.workers.models import Checkpoint
from sync.workers.routes import Route

SUMMARY = "pause a model's delivery or a route; no change is lost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="MODEL|ROUTE", help="such as account or pull:sale; default: all")


def run(options: dict[str, Any], out: Any) -> int:
    out.write("\n".join([*apply(options["names"], paused=True), "Resume with: manage.py sync resume"]))
    return 0


def apply(names: list[str], *, paused: bool) -> Iterator[str]:
    """Pause or resume the named models and routes, or everything if there are no names.

    Yields a sentence for each. Raises CommandError for an unknown name.
    """
    routes, others = chosen_routes(names)
    if not names:
        routes = list(Checkpoint.objects.order_by("name").values_list("name", flat=True))
    for name in others:
        if name.partition(":")[0] in set(Route):
            raise CommandError(f"There is no route {name}. Known routes: {', '.join(known_routes())}.", returncode=2)
    if others or not names:
        yield from set_paused([target.label for target in chosen_targets(others)], paused=paused)
    for name in routes:
        yield set_route_paused(name, paused=paused)
