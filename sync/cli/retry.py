"""Retries failed changes: a relay delivers them at once. Fix the cause first. With --all, changes that
wait for their next try are retried now, too. With keys, the relay delivers these rows again,
whether or not they have pending changes.

The command does not wait for the relay. Changes in flight stay with their worker: they are skipped
and counted.

examples:
  manage.py sync retry                                       all failed changes
  manage.py sync retry account --all                         one model, with the changes that wait for their next try
  manage.py sync retry account 5ca4bbc7a2dd94ee58162391      deliver one row again

exit status:
  0  done, also if there was nothing to retry
  2  wrong usage, no such model or key, or a server is unreachable

Next: `manage.py sync status` shows whether the changes arrived or failed again.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.mapping.registry import chosen_targets
from sync.outbox.actions import RETRY, deliver_again, told
from sync.outbox.models import Acted, Change, ChangeQuerySet
from sync.verification.inspection import find_key

SUMMARY = "deliver failed changes or chosen rows again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model, such as account; default: all")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="primary keys of rows to deliver again")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--failed", action="store_true", help="only changes that became dead letters (the default)")
    which.add_argument("--all", action="store_true", help="also changes that wait for their next try")


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
    """Return the changes of a model or target, also of a removed target; all changes if there is no name.

    Raises CommandError for an unknown name.
    """
    changes: ChangeQuerySet = Change.objects.all()
    if not name:
        return changes
    if (gone := changes.filter(model=name)).exists():
        return gone
    return changes.filter(model__in=[target.label for target in chosen_targets([name])])
