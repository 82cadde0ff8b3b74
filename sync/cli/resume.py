"""Goes on delivering what `sync pause` has stopped."""

import argparse
from typing import Any

from sync.mapping.registry import chosen_targets
from sync.outbox.actions import set_paused

SUMMARY = "go on delivering a paused model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="such as account; default: all")


def run(options: dict[str, Any], out: Any) -> int:
    labels = [target.label for target in chosen_targets(options["models"])]
    out.write("\n".join(set_paused(labels, paused=False)))
    return 0
