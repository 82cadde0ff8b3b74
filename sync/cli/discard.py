"""Discards failed changes without delivering them. Their documents stay unchanged, and `sync verify`
reports them as mismatches until the rows are saved again or repaired. If you can fix the cause, use
`sync retry` instead.

examples:
  manage.py sync discard account                               all failed changes of a model, after a question
  manage.py sync discard account 5ca4bbc7a2dd94ee58162391      the failed change of one row
  manage.py sync discard account --yes                         in a script, without the question

exit status:
  0  done
  1  not confirmed, or some of the named changes were skipped because they are in flight or have not failed
  2  wrong usage, or a server is unreachable

Next: `manage.py sync verify MODEL --repair` brings the documents back in sync with their rows.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.cli.retry import changes_of
from sync.core.humanize import counted
from sync.outbox.actions import DISCARD, told

SUMMARY = "remove failed changes without delivering them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model, such as account")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="primary keys of the rows; default: all failed changes")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def run(options: dict[str, Any], out: Any) -> int:
    changes = changes_of(options["model"])
    changes = changes.filter(key__in=options["keys"]) if options["keys"] else changes.filter(failed=True)
    expected, failed = changes.count(), changes.filter(failed=True).count()
    question = f"Discard {counted(failed, 'failed change', 'failed changes')} of {options['model']}? [y/N] "
    if failed and not options["yes"] and not _confirmed(question):
        out.write("Nothing was discarded.")
        return 1
    outcome = changes.discard()
    outcome = outcome._replace(skipped=max(expected - outcome.done - outcome.in_flight, 0))
    out.write("\n".join(told(DISCARD, outcome)))
    return 0 if outcome.is_complete else 1


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        raise CommandError("Cannot ask without a terminal. Add --yes to skip the question.", returncode=2) from None
