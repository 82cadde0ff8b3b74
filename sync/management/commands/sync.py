"""`manage.py sync VERB`: the mirror's command line."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import DEFAULT_DB_ALIAS
from django.db import Error as DatabaseError

from sync.cli import VERBS
from sync.core import mysql
from sync.core.retry import bound_statements
from sync.mongodb.errors import Unavailable

EXAMPLES = "\nexamples:\n"  # in a subcommand's docstring: its help prints the options before this line


class Command(BaseCommand):
    help = (
        "Keeps MongoDB in sync with MySQL. Run `sync status` to see the state and what to do next. "
        "For a new mirror: `sync backfill` delivers the existing rows, `sync relay` runs all the time and delivers "
        "changes, and `sync verify` compares every row with its document."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.epilog = (
            "Example: manage.py sync status. For a subcommand's options, examples and exit status, run "
            "manage.py sync VERB --help. Every subcommand exits with 0 when it is done, 1 when it worked but found "
            "or left problems, and 2 for wrong usage or an unreachable server."
        )
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, verb in VERBS.items():
            description, _, rest = (verb.__doc__ or "").partition(EXAMPLES)
            verb.add_arguments(
                verbs.add_parser(
                    name,
                    help=verb.SUMMARY,
                    description=description,
                    epilog=EXAMPLES.lstrip() + rest,
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                )
            )

    def check(self, *args: Any, **options: Any) -> None:
        """Run Django's system checks, but exit with 2 if they fail: 1 means that a command found a problem."""
        try:
            with _errors_in_one_line():  # from Django 6.1 on, its checks of fields query MySQL's version
                super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = 2
            raise

    def handle(self, *args: Any, **options: Any) -> None:
        with _errors_in_one_line():
            bound_statements(DEFAULT_DB_ALIAS)
            status = VERBS[options["verb"]].run(options, self.stdout)
        if status:
            sys.exit(status)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Print an unreachable server or a wrong setting without a traceback, and exit with 2."""
    try:
        yield
    except (Unavailable, ImproperlyConfigured) as error:
        raise CommandError(_with_notes(str(error), error), returncode=2) from error
    except DatabaseError as error:
        if not mysql.has_a_reason(error):
            raise
        raise CommandError(_with_notes(mysql.reason(error), error), returncode=2) from error


def _with_notes(cause: str, error: Exception) -> str:
    """Return the cause, followed by the subcommand's notes on how to continue."""
    return "\n".join([cause, *getattr(error, "__notes__", [])])
