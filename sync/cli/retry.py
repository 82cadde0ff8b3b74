"""Lets changes be delivered again now: those that failed (the default), or with --all also those that wait for their
next try. With keys, these rows are delivered again, whether or not anything is pending for them.

The relay delivers them; this command does not wait. Changes in flight stay with the worker that delivers them: they are
skipped and counted. Exit status 0: done, also when there was nothing to retry.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.mapping.registry import chosen_targets
from sync.outbox.actions import RETRY, deliver_again, told
from sync.outbox.models import Acted, Change, ChangeQuerySet
from sync.verification.inspection import find_key

SUMMARY = "deliver failed changes, or rows of your choice, again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="such as account; default: all")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these rows")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--failed", action="store_true", help="those that failed for good (the default)")
    which.add_argument("--all", action="store_true", help="also those waiting for their next try")


def run(options: dict[str, Any], out: Any) -> int:
    outcome = _deliver_again(options) if options["keys"] else _chosen(options).retry()
    out.write("\n".join(told(RETRY, outcome)))
    return 0


def _chosen(options: dict[str, Any]) -> ChangeQuerySet:
    changes = changes_of(options["model"])
    return changes.exclude(error="", failed=False) if options["all"] else changes.filter(failed=True)


def _deliver_again(options: dict[str, Any]) -> Acted:
    targets = chosen_targets([options["model"]])
    try:
        keys = [find_key(targets[0].model, key) for key in options["keys"]]
    except ValueError as error:
        raise CommandError(str(error), returncode=2) from error
    return deliver_again(targets, keys, inline=False)


def changes_of(name: str | None) -> ChangeQuerySet:
    """The changes of what a command line names, also of a target that is gone; of everything without a name.

    Raises CommandError for a name that is none.
    """
    changes: ChangeQuerySet = Change.objects.all()
    if not name:
        return changes
    if (gone := changes.filter(model=name)).exists():
        return gone
    return changes.filter(model__in=[target.label for target in chosen_targets([name])])
