"""`manage.py refresh_totals`: computes the totals of senior management's dashboard now."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils.translation import ngettext
from pymongo.errors import PyMongoError

from finance import report_cache
from sync.core import mysql
from sync.mongodb import errors

EPILOG = """\
The dashboard also computes its totals in the background when a user opens it and they are older than one minute, or
than 20 times as long as the computation takes. Run this command on a schedule to have totals ready before, or after a
large import. Only one process computes a total at a time; this command skips totals that another process is computing.

examples:
  manage.py refresh_totals               all totals, and the top customers of ranges requested within the last week
  manage.py refresh_totals --if-due      only totals that are due; for a schedule

exit status: 0 done; 1 another process is computing some of them, or a record could not be read; 2 wrong use, or a
server is unreachable
"""


class Command(BaseCommand):
    help = "Computes the totals of senior management's dashboard in MongoDB and stores them in MySQL."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-due", action="store_true", help="skip totals that are not due")

    def handle(self, *, if_due: bool, **_: Any) -> None:
        left = 0
        try:
            for key in report_cache.kept():
                if report_cache.refresh(key, force=not if_due):
                    self.stdout.write(f"{key}: computed")
                else:
                    left += not if_due
                    self.stdout.write(f"{key}: {'fresh' if if_due else 'another process is computing it'}")
        except PyMongoError as error:
            raise CommandError(f"{errors.reason(error)}. Start it, or see MONGODB_URI.", returncode=2) from error
        except DatabaseError as error:
            raise CommandError(mysql.reason(error), returncode=2) from error
        problems = [_unread(name, **found) for name, found in report_cache.unread().items() if found["count"]]
        if left:
            problems.append("Something was left to another process.")
        if problems:
            raise CommandError("\n".join(problems), returncode=1)


def _unread(collection: str, count: int, first: list[str]) -> str:
    text = ngettext(
        "%(count)d document of %(collection)s could not be read in full and is not in all totals: %(first)s. "
        "Correct its row, or run: manage.py sync verify --repair",
        "%(count)d documents of %(collection)s could not be read in full and are not in all totals: %(first)s. "
        "Correct their rows, or run: manage.py sync verify --repair",
        count,
    )
    more = ", ..." if count > len(first) else ""
    return text % {"count": count, "collection": collection, "first": ", ".join(first) + more}
