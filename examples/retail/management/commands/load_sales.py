"""`manage.py load_sales`: made-up sales, written to MongoDB, where their home is."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo import ReplaceOne
from pymongo.errors import PyMongoError

from examples.retail.making import sales
from examples.retail.models import Sale
from sync.core.humanize import counted
from sync.mongodb.client import database
from sync.mongodb.errors import reason

BATCH = 1000
EPILOG = """\
The same seed creates the same sales, so a second run changes nothing. To load them into MySQL: manage.py sync pull sale

exit status: 0 done; 2 wrong use, or MongoDB is unreachable
"""


class Command(BaseCommand):
    help = "Writes made-up sales to the MongoDB collection that Sale is pulled from, for a trial."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=5000, metavar="N", help="default: 5000")
        parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: 1")
        parser.add_argument("--force", action="store_true", help="run even if DEBUG is off")

    def handle(self, *, count: int, seed: int, force: bool, **_: Any) -> None:
        if not settings.DEBUG and not force:
            message = "DEBUG is off, so this may be a production portal. Use --force to load the demo data anyway"
            raise CommandError(message, returncode=2)
        try:
            from faker import Faker
        except ImportError as error:
            message = "load_sales needs Faker: pip install -r requirements-demo.txt"
            raise CommandError(message, returncode=2) from error
        documents = sales(Faker("en_US"), count, seed)
        written = 0
        try:
            collection = database()[Sale.source.collection]
            while batch := list(islice(documents, BATCH)):
                replaces = [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in batch]
                result = collection.bulk_write(replaces, ordered=False)
                written += result.upserted_count + result.modified_count
        except PyMongoError as error:
            raise CommandError(reason(error), returncode=2) from error
        number = counted(written, "sale", "sales")
        self.stdout.write(f"{number} written to {collection.full_name}. Next: manage.py sync pull sale --once")
