"""`manage.py load_shop`: made-up products, buyers and orders, for a trial."""

from __future__ import annotations

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, transaction

from examples.shop import making
from examples.shop.models import Buyer, Category, Line, Order, Product, Tag
from sync.core import mysql
from sync.core.humanize import counted

BATCH = 1000
EPILOG = """\
Creates 17 products in 4 categories with 4 tags, 12 buyers, and orders with 1 to 5 lines each, from 2025 on. The same
seed creates the same rows. Refused if the shop has any rows: nothing of yours is changed.

example:
  manage.py load_shop --count 2000
  manage.py sync relay --once        # unless a relay runs: script/server has one

exit status: 0 done; 1 the shop has rows; 2 wrong use, or the database is unreachable
"""


class Command(BaseCommand):
    help = "Loads made-up products, buyers and orders into an empty shop, for a trial."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=300, metavar="N", help="orders; default: 300")
        parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: 1")
        parser.add_argument("--force", action="store_true", help="run even if DEBUG is off")

    def handle(self, *, count: int, seed: int, force: bool, **_: Any) -> None:
        if not settings.DEBUG and not force:
            message = "DEBUG is off, so this may be a production portal. Use --force to load the demo data anyway"
            raise CommandError(message, returncode=2)
        try:
            load(count, seed)
        except DatabaseError as error:
            raise CommandError(mysql.reason(error), returncode=2) from error
        self.stdout.write(f"{counted(count, 'order', 'orders')} loaded. Next: manage.py sync verify shop.order")


@transaction.atomic
def load(count: int, seed: int) -> None:
    """All rows or none. Raises CommandError if there are any already, because the keys of the new ones start at 1."""
    for model in (Category, Tag, Product, Buyer, Order):
        if model.objects.exists():
            found = model._meta.verbose_name_plural
            raise CommandError(f"The shop already has {found}. Nothing was loaded.", returncode=1)
    Category.objects.bulk_create(making.categories())
    Tag.objects.bulk_create(making.tags())
    Product.objects.bulk_create(making.products())
    for product, tags in making.links():
        Product(pk=product).tags.set(tags)
    Buyer.objects.bulk_create(making.buyers())
    orders, lines = making.orders(count, seed)
    Order.objects.bulk_create(orders, BATCH)
    Line.objects.bulk_create(lines, BATCH)
