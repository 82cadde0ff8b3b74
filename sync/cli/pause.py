"""Stops delivering one model, or all: inline and by every relay, within a second. Saving goes on, and every change is
kept; `sync resume` delivers what has gathered. For work on MongoDB, or while a wrong mapping is being fixed.
"""

import argparse
from typing import Any

from sync.mapping.registry import chosen_targets
from sync.outbox.actions import set_paused

SUMMARY = "stop delivering a model; changes are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="such as account; default: all")


def run(options: dict[str, Any], out: Any) -> int:
    labels = [target.label for target in chosen_targets(options["models"])]
    out.write("\n".join([*set_paused(labels, paused=True), "Resume with: manage.py sync resume"]))
    return 0
