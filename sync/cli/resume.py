"""Goes on with what `sync pause` has stopped: a model's delivery, or a route, which goes on from its checkpoint."""

import argparse
from typing import Any

from sync.cli import pause

SUMMARY = "go on with a paused model or route"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pause.add_arguments(parser)


def run(options: dict[str, Any], out: Any) -> int:
    out.write("\n".join(pause.apply(options["names"], paused=False)))
    return 0
