"""Forgets changes that failed, without delivering them. Their documents stay as they are, and `sync verify` goes on
naming them until the rows are saved again or repaired. Prefer `sync retry` once the cause is fixed.

Exit status 0: done; 1: you did not confirm, or some that you named were skipped: they are in flight or have not failed.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.cli.retry import changes_of
from sync.core.humanize import counted
from sync.outbox.actions import DISCARD, told

SUMMARY = "forget failed changes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="such as account")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these rows; default: all that failed")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: dict[str, Any], out: Any) -> int:
    changes = changes_of(options["model"])
    changes = changes.filter(key__in=options["keys"]) if options["keys"] else changes.filter(failed=True)
    expected, failed = changes.count(), changes.filter(failed=True).count()
    question = f"Discard {counted(failed, 'failed change', 'failed changes')} of {options['model']}? [y/N] "
    if failed and not options["yes"] and not _confirmed(question):
        out.write("Nothing is discarded.")
        return 1
    outcome = changes.discard()
    outcome = outcome._replace(skipped=max(expected - outcome.done - outcome.in_flight, 0))
    out.write("\n".join(told(DISCARD, outcome)))
    return 0 if outcome.is_complete else 1


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        raise CommandError("There is nobody to ask; say --yes to go on.", returncode=2) from None
