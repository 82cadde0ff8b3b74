"""`manage.py load_demo`: made-up data and three users to log in as."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from rich.console import Console
from rich.progress import Progress

from finance.delivering import deliver_now
from finance.demo import FIRST_DAY, Demo, day_of_earlier_run, demo_id
from finance.models import Customer
from finance.upserting import CREATED, UNCHANGED, UPDATED, upsert
from sync.core import mysql
from sync.models import MirroredModel

BATCH = 200
USERS = (
    ("customer", "customer", "Carla", "Customer"),
    ("technician", "technical_worker", "Theo", "Technician"),
    ("manager", "senior_management", "Mina", "Manager"),
)
EPILOG = """\
Creates customers with 1 to 6 accounts each, and trades from 2010 to the present whose prices follow a random walk for
each symbol. The same seed creates the same data, so a second run changes nothing. It also creates one user for each
role: customer, technician and manager. The customer is linked to the records of the first made-up customer.

example:
  manage.py load_demo --customers 500 --trades 50000

exit status: 0 done; 1 a real user has the name of a demo user; 2 wrong use, or the database is unreachable
"""


class Command(BaseCommand):
    help = "Loads made-up customers, accounts and trades and three demo users, for a trial."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--customers", type=_number(1, 500_000), default=60, metavar="N", help="default: 60")
        parser.add_argument("--trades", type=_number(0, 100_000_000), default=6000, metavar="N", help="default: 6000")
        parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: 1")
        parser.add_argument("--force", action="store_true", help="run even if DEBUG is off")

    def handle(self, *, customers: int, trades: int, seed: int, force: bool, **_: Any) -> None:
        if not settings.DEBUG and not force:
            message = "DEBUG is off, so this may be a production portal. Use --force to load the demo data anyway"
            raise CommandError(message, returncode=2)
        try:
            from faker import Faker
        except ImportError as error:
            message = "load_demo needs Faker: pip install -r requirements-demo.txt"
            raise CommandError(message, returncode=2) from error
        try:
            until = day_of_earlier_run(seed) or max(datetime.datetime.now(datetime.UTC).date(), FIRST_DAY)
            demo = Demo(Faker("en_US"), customers, trades, seed, until)
            self._load(demo)
            self._link(demo)
        except DatabaseError as error:
            raise CommandError(mysql.reason(error), returncode=2) from error
        self.stdout.write(deliver_now())

    def _load(self, demo: Demo) -> None:
        accounts = sum(map(len, demo.account_numbers))
        parts: list[tuple[str, int, Iterable[MirroredModel]]] = [
            ("customers", demo.customers, demo.customer_rows()),
            ("accounts", accounts, demo.account_rows()),
            ("transactions", max(accounts, demo.trades // 100), demo.transaction_rows()),
        ]
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            for name, about, rows in parts:
                counts: Counter[str] = Counter()
                for batch in _batches(progress.track(rows, total=about, description=name)):
                    counts.update(outcome.kind for outcome in upsert(batch))
                self.stdout.write(
                    f"{name}: {counts[CREATED]:,} created, {counts[UPDATED]:,} updated, {counts[UNCHANGED]:,} unchanged"
                )

    def _link(self, demo: Demo) -> None:
        manager: Any = get_user_model()._default_manager  # of a class that this app does not import
        try:
            users = {username: manager.create_demo_user(username, *rest) for username, *rest in USERS}
        except ValueError as error:
            raise CommandError(str(error), returncode=1) from error
        first = Customer.objects.get(pk=demo_id(demo.seed, "customer", 0))
        if not Customer.objects.filter(user=users["customer"]).exists() and first.user_id is None:
            first.user = users["customer"]
            first.save(update_fields=["user"])
        self.stdout.write(f"users you can log in as: {', '.join(users)}")


def _batches(rows: Iterable[MirroredModel]) -> Iterator[list[MirroredModel]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _number(least: int, most: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"a whole number from {least:,} to {most:,}, please")
        return int(text)

    return parse
