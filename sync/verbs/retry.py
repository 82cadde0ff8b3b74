"""Lets changes be delivered again now: those parked as failed (the default), or with --all also those that wait for
their next try. With keys, these rows are delivered again, whether or not anything is pending for them.

The relay delivers them; this command does not wait. Exit status 0: done, also when there was nothing to retry.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, transaction

from sync.capture import record
from sync.clock import DatabaseNow
from sync.models import Change
from sync.registry import Target, chosen_targets

SUMMARY = "deliver failed changes, or rows of your choice, again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="such as account; default: all")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these rows")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--failed", action="store_true", help="those parked as failed (the default)")
    which.add_argument("--all", action="store_true", help="also those waiting for their next try")


def run(options: dict[str, Any], out: Any) -> int:
    targets = chosen_targets([options["model"]] if options["model"] else [])
    if options["keys"]:
        count = retry_keys(targets, options["keys"])
    else:
        count = retry([target.label for target in targets], waiting=options["all"])
    out.write(f"{count:,} will be delivered again.")
    return 0


def retry(labels: list[str], *, waiting: bool = False, using: str = DEFAULT_DB_ALIAS) -> int:
    """Makes failed changes due now, and with `waiting` those that failed before and wait; how many."""
    changes = Change.objects.using(using).filter(model__in=labels)
    changes = changes.exclude(error="", failed=False) if waiting else changes.filter(failed=True)
    return changes.update(failed=False, attempts=0, claim="", due_at=DatabaseNow())


def retry_keys(targets: list[Target], keys: list[str], using: str = DEFAULT_DB_ALIAS) -> int:
    """Records these rows of one model as changed; how many. Raises CommandError for what cannot be a key."""
    model = targets[0].model
    to_pk: Any = model._meta.pk
    for key in keys:
        try:
            to_pk.run_validators(to_pk.to_python(key))
        except Exception as error:
            raise CommandError(f"{key} is no key of {model._meta.label_lower}: {error}", returncode=2) from error
    with transaction.atomic(using):
        labels = [target.label for target in targets]
        Change.objects.using(using).filter(model__in=labels, key__in=keys, failed=True).delete()
        record(model, [str(to_pk.to_python(key)) for key in keys], using, inline=False, to=targets)
    return len(keys)
