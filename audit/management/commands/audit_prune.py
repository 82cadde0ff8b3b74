"""Removes old entries of the audit log. Run it daily, for example with cron.

The removal and its number of entries are an entry of their own. Exit status: 0 done; 2 wrong use, or the database is
unreachable.
"""

import argparse
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import ngettext

from audit.log import Object, record
from audit.models import Act, Entry

CHUNK = 1000  # entries removed in one transaction


class Command(BaseCommand):
    help = __doc__

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        epilog = "  manage.py audit_prune\n  manage.py audit_prune --days 30 --dry-run\n"
        form = argparse.RawDescriptionHelpFormatter
        return super().create_parser(*args, **kwargs, epilog=f"examples:\n{epilog}", formatter_class=form)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=int, default=settings.AUDIT_DAYS,
            help="days for which entries are kept; 0 keeps all (default: AUDIT_DAYS, %(default)s)",
        )  # fmt: skip
        parser.add_argument("--dry-run", action="store_true", help="only print the number")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if not 0 <= days <= 100_000:
            raise CommandError("--days must be from 0, which keeps all entries, to 100000.", returncode=2)
        if not days:
            self.stdout.write("All entries are kept.")
            return
        self._prune(days, options["dry_run"])

    def _prune(self, days: int, dry_run: bool) -> None:
        old = Entry.objects.filter(at__lt=timezone.now() - timedelta(days=days))
        if dry_run:
            self.stdout.write(_entries(old.count(), days, "to be removed"))
            return
        count = 0
        while keys := list(old.values_list("pk", flat=True)[:CHUNK]):
            with transaction.atomic():
                Entry.objects.filter(pk__in=keys).delete()
                count += len(keys)
        if count:
            record(None, Act.PRUNE, Object("audit.entry"), after={"entries": count, "older_than_days": days})
        self.stdout.write(_entries(count, days, "removed"))


def _entries(number: int, days: int, doing: str) -> str:
    text = ngettext("%s entry older than %s is %s.", "%s entries older than %s are %s.", number)
    return text % (f"{number:,}", f"{days:,} {ngettext('day', 'days', days)}", doing)
