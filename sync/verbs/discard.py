"""Forgets changes that are parked as failed, without delivering them. Their documents stay as they are, and `sync
verify` goes on naming them until the rows are saved again or repaired. Prefer `sync retry` once the cause is mended.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.models import Change
from sync.registry import chosen_targets

SUMMARY = "forget failed changes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="such as account")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these rows; default: all that failed")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: dict[str, Any], out: Any) -> int:
    labels = [target.label for target in chosen_targets([options["model"]])]
    failed = Change.objects.filter(model__in=labels, failed=True)
    if options["keys"]:
        failed = failed.filter(key__in=options["keys"])
    count = failed.count()
    question = f"Forget {count:,} failed changes of {', '.join(labels)}? [y/N] "
    if count and not options["yes"] and not _confirmed(question):
        out.write("Nothing is forgotten.")
        return 1
    failed.delete()
    out.write(f"{count:,} forgotten.")
    return 0


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        raise CommandError("There is nobody to ask; say --yes to go on.", returncode=2) from None
