"""Removes the files of pictures that belong to nobody: those that a killed process or a deletion by SQL has left.

Files younger than an hour stay, because a request may be about to store who they belong to. Exit status 0: done; 1: a file
could not be removed; 2: wrong use, or the database is out of reach.
"""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import ngettext

from accounts.pictures import STORAGE, orphans


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args: Any, **options: Any) -> None:
        count = 0
        for name in orphans():
            try:
                if not options["dry_run"]:
                    STORAGE.delete(name)
            except OSError as error:
                raise CommandError(f"{name} cannot be removed: {error.strerror}.", returncode=1) from error
            count += 1
        doing = "to be removed" if options["dry_run"] else "removed"
        text = ngettext("%s picture that belongs to nobody is %s.", "%s pictures that belong to nobody are %s.", count)
        self.stdout.write(text % (f"{count:,}", doing))
