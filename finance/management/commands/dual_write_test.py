"""`manage.py dual_write_test`: follow one transaction through both databases."""

import argparse
import datetime
import json
import sys
import time
from typing import Any

import bson
from bson import json_util
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.utils import timezone
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.table import Table

from finance.models import Transaction
from sync.core import mysql
from sync.mapping.documents import MappingError
from sync.mapping.registry import Target
from sync.mongodb.client import collection
from sync.mongodb.errors import reason

PATIENCE = 10.0  # seconds to wait for a document, which a relay may have to deliver
TRADE = {
    "amount": 10,
    "transaction_code": "buy",
    "symbol": "adbe",
    "price": "19.10728026507418",
    "total": "191.0728026507418",
}


class Command(BaseCommand):
    help = (
        "Creates, changes and deletes one transaction, and shows the row in MySQL and the document in MongoDB side by "
        "side after each step. Exit status: 0 they agree after every step; 1 they differ; 2 a server is unreachable."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--keep", action="store_true", help="do not delete the transaction at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            collection(Target(Transaction)).database.command("ping")
            agreed = self.walk(keep=options["keep"])
        except PyMongoError as error:
            raise CommandError(
                f"{reason(error)}. Check MONGODB_URI and that the server is running", returncode=2
            ) from error
        except OperationalError as error:
            raise CommandError(mysql.reason(error), returncode=2) from error
        if not agreed:
            self.stderr.write("Row and document differ. Run `manage.py sync status` to see what is pending.")
            sys.exit(1)

    def walk(self, *, keep: bool) -> bool:
        """Runs the three steps and returns whether both databases agreed after each. Deletes the transaction unless
        asked to keep it.
        """
        now = timezone.now().replace(microsecond=0)
        transaction = Transaction(
            account_id=443178,
            transaction_count=1,
            bucket_start_date=now - datetime.timedelta(days=365),
            bucket_end_date=now,
            transactions=[{"date": now, **TRADE}],
        )
        key = transaction.pk
        try:
            transaction.save()
            agreed = [self.show(f"Created transaction {key}", key, exists=True)]
            transaction.transactions.append({"date": now, **TRADE, "transaction_code": "sell", "amount": 4})
            transaction.transaction_count = 2
            transaction.save()
            agreed.append(self.show("Modified: a second trade", key, exists=True))
        finally:
            if not keep:
                Transaction.objects.filter(pk=key).delete()
        if keep:
            self.stdout.write(f"Kept: transaction {key}.")
        else:
            agreed.append(self.show("Deleted", key, exists=False))
        return all(agreed)

    def show(self, step: str, key: str, *, exists: bool) -> bool:
        """Prints both sides after one step and returns whether they agree."""
        start = time.monotonic()
        while True:
            row = Transaction.objects.filter(pk=key).first()
            try:
                expected = row.to_document() if row else None
            except MappingError as error:
                raise CommandError(f"{step}: the row cannot be read: {error}.", returncode=1) from error
            document = collection(Target(Transaction)).find_one({"_id": bson.ObjectId(key)})
            ours = document.pop("_sync", None) if document else None
            version = ours.get("v") if isinstance(ours, dict) else None
            waited = time.monotonic() - start
            if (agree := _same(expected, document) and (row is not None) == exists) or waited > PATIENCE:
                break
            time.sleep(0.05)
        verdict = f"[green]✔ equal[/], seen after {waited * 1000:.0f} ms" if agree else "[red]✘ NOT equal[/]"
        table = Table(title=f"{step}: {verdict}", title_justify="left", width=None if self.stdout.isatty() else 160)
        table.add_column(f"{connection.display_name} row", ratio=1)
        table.add_column("MongoDB document" + (f" (_sync.v {version})" if version else ""), ratio=1)
        table.add_row(_text(expected), _text(document))
        Console(file=self.stdout, width=None if self.stdout.isatty() else 160).print(table)  # type: ignore[arg-type]
        return agree


def _same(expected: dict[str, Any] | None, document: dict[str, Any] | None) -> bool:
    if expected is None or document is None:
        return expected is document
    return bson.encode(expected) == bson.encode(document)


def _text(document: dict[str, Any] | None) -> str:
    return "(none)" if document is None else json.dumps(document, default=json_util.default, indent=1)
