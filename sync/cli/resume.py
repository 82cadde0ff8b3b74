"""Resumes what `sync pause` has paused. Workers deliver the waiting changes of a model, and a route
continues from its checkpoint.

examples:
  manage.py sync resume account      one model
  manage.py sync resume pull:sale    one route
  manage.py sync resume              everything

exit status:
  0  done, also if nothing was paused
  2  no such model or route, or a server is unreachable

Next: `manage.py sync status` shows how many changes are still pending.
"""

import argparse
from typing import Any

from sync.cli import pause

SUMMARY = "resume a paused model or route"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pause.add_arguments(parser)


def run(options: dict[str, Any], out: Any) -> int:
    out.write("\n".join(pause.apply(options["names"], paused=False)))
    return 0
