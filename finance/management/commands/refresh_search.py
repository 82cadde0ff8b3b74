"""`manage.py refresh_search`: corrects the words by which customers are found."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils.translation import ngettext

from finance.searching import write_all_words
from sync.core import mysql

EPILOG = """\
The portal updates the words with each customer that it writes, and `sync follow-binlog` with each one that another
program writes. Run this command after a program changed customers while no follower ran, or after an upgrade during
which the old version still wrote. It reads customers in batches of 1,000 and can run beside live traffic.

example:
  manage.py refresh_search

exit status: 0 done; 2 wrong use, or the database is unreachable
"""


class Command(BaseCommand):
    help = "Corrects the words by which the portal finds customers: for rows that were not written through the portal."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def handle(self, **_: Any) -> None:
        try:
            changed = write_all_words()
        except DatabaseError as error:
            raise CommandError(mysql.reason(error), returncode=2) from error
        text = ngettext("%d customer had other words.", "%d customers had other words.", changed)
        self.stdout.write(text % changed)
