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


class Command(BaseCommand):
    help = (
        "Keeps MongoDB equal to MySQL. Start with `sync status`. A first mirror of existing rows is made by "
        "`sync backfill`; `sync relay` is the process that runs all the time; `sync verify` is the proof."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, verb in VERBS.items():
            verb.add_arguments(
                verbs.add_parser(
                    name,
                    help=verb.SUMMARY,
                    description=verb.__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                )
            )

    def check(self, *args: Any, **options: Any) -> None:
        """As Django's; but exit status 1 would say that something differs, or is left."""
        try:
            with _in_one_line():  # from 6.1 on, Django's checks of the fields ask MySQL for its version
                super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = 2
            raise

    def handle(self, *args: Any, **options: Any) -> None:
        with _in_one_line():
            bound_statements(DEFAULT_DB_ALIAS)
            status = VERBS[options["verb"]].run(options, self.stdout)
        if status:
            sys.exit(status)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """A server that is out of reach, or a wrong setting, is told without a traceback, with exit status 2."""
    try:
        yield
    except (Unavailable, ImproperlyConfigured) as error:
        raise CommandError(_with_notes(str(error), error), returncode=2) from error
    except DatabaseError as error:
        if not mysql.has_a_reason(error):
            raise
        raise CommandError(_with_notes(mysql.reason(error), error), returncode=2) from error


def _with_notes(cause: str, error: Exception) -> str:
    """The cause, and then what the verb has added: how to go on."""
    return "\n".join([cause, *getattr(error, "__notes__", [])])
