"""Sales in MongoDB, and the command that pulls them."""

from __future__ import annotations

from io import StringIO
from typing import Any

from django.core.management import call_command
from faker import Faker
from pymongo.database import Database

from examples.retail.making import sales


def load(mongo: Database, count: int, seed: int = 1) -> list[dict[str, Any]]:
    documents = list(sales(Faker("en_US"), count, seed))
    mongo["sales"].insert_many(documents)
    return documents


def pull(*arguments: str) -> str:
    out = StringIO()
    call_command("sync", "pull", "sale", *arguments, stdout=out)
    return out.getvalue()
