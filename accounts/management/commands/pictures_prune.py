"""Removes orphaned pictures: files that belong to no user, left by a killed process or by a deletion in SQL.

Files younger than an hour stay, because a request may be about to save their user. Run it weekly, for example with
cron. Exit status: 0 done; 1 a file could not be removed; 2 wrong use, or the database is unreachable.
"""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import ngettext

from accounts.pictures import STORAGE, orphans


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print the number")

    def handle(self, *args: Any, **options: Any) -> None:
        count = 0
        try:
            for name in orphans():
                if not options["dry_run"]:
                    STORAGE.delete(name)
                count += 1
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}.", returncode=1) from error
        text = ngettext("%s orphaned picture %s.", "%s orphaned pictures %s.", count)
        self.stdout.write(text % (f"{count:,}", "would be removed" if options["dry_run"] else "removed"))
