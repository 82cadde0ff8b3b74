"""Stops delivering one model, or all: inline and by every relay, within a second. Saving goes on, and every change is
kept; `sync resume` delivers what has gathered. For work on MongoDB, or while a wrong mapping is being mended.
"""

import argparse
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from sync.models import ModelState
from sync.registry import chosen_targets

SUMMARY = "stop delivering a model; changes are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="such as account; default: all")


def run(options: dict[str, Any], out: Any) -> int:
    labels = [target.label for target in chosen_targets(options["models"])]
    set_paused(labels, paused=True)
    out.write(f"Paused: {', '.join(labels)}. `manage.py sync resume` goes on.")
    return 0


def set_paused(labels: list[str], *, paused: bool, using: str = DEFAULT_DB_ALIAS) -> None:
    """Pauses or resumes the models with these labels."""
    for name in labels:
        ModelState.objects.using(using).update_or_create(model=name, defaults={"paused": paused})
