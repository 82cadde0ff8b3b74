"""Each row of each chart leads to its trades, whatever other programs have stored. Documents are generated."""

from __future__ import annotations

import datetime
import os
import random
from contextlib import suppress
from typing import Any

import pytest
from bson import Decimal128, Int64
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pymongo.database import Database

from finance.tests.people import DAY, customer, user

pytestmark = pytest.mark.django_db(transaction=True)

MONTHS = [datetime.datetime(2020, month, 1, tzinfo=datetime.UTC) for month in (1, 2, 3)]
NAMES: list[Any] = ["Gold", "gold", "$amount", "a.b", "é", "", None, 5, True, ["Gold"], {"$ne": 1}]
NUMBERS = [1, 2, 3, Int64(4), None, "1"]
ABSENT = object()
VALUES: dict[str, list[Any]] = {
    "date": [*MONTHS, None, "2020-01-01", 0],
    "symbol": [*NAMES, ABSENT],
    "transaction_code": ["buy", "sell", "BUY", None, 1, ABSENT],
    "amount": [1, Int64(7), 1.5, None, "3"],
    "total": ["1.5", "0", "-2", "?", None, Decimal128("3.25"), float("nan"), 2, DAY, True],
}


def trade(chance: random.Random) -> Any:
    if chance.random() < 0.05:
        return chance.choice(["not a trade", None, 7, []])
    chosen = {name: chance.choice(values) for name, values in VALUES.items()}
    return {name: value for name, value in chosen.items() if value is not ABSENT}


def fill(mongo: Database, chance: random.Random) -> None:
    """Accounts, tiers and buckets of any shape; the customers stay those of MySQL, who can be chosen."""
    mongo.accounts.insert_many(
        {"account_id": chance.choice(NUMBERS), "limit": 1,
         "products": chance.choice([[], None, "Gold", chance.choices(NAMES, k=3)])} for _ in range(12)
    )  # fmt: skip
    for document in list(mongo.customers.find({}, {"_id": 1})):
        tiers = {
            str(number): {"tier": chance.choice(NAMES), "active": chance.choice([True, True, False, 1])}
            for number in range(chance.randrange(4))
        }
        accounts = chance.choice([chance.sample(NUMBERS, 3), [], chance.choice(NUMBERS)])
        mongo.customers.update_one(
            {"_id": document["_id"]},
            {"$set": {"tier_and_details": chance.choice([tiers, tiers, None]), "accounts": accounts}},
        )
    mongo.transactions.insert_many(
        {"account_id": chance.choice(NUMBERS),
         "transactions": chance.choice([[trade(chance) for _ in range(8)]] * 9 + [None])} for _ in range(20)
    )  # fmt: skip


@pytest.mark.parametrize("run", range(3))
def test_each_row_leads_to_exactly_its_trades(client: Client, mongo: Database, settings: Any, run: int) -> None:
    settings.SYNC_INLINE_TIMEOUT = 10
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    client.force_login(user("manager"))
    for name in ("Anna", "Bert", "Cleo"):
        customer(name, [])
    fill(mongo, random.Random(seed))
    with suppress(CommandError):  # it names the documents that cannot be read in full
        call_command("refresh_totals")
    address = reverse("finance:totals_dashboard")
    response = client.get(address, {"first": "2020-01", "last": "2020-03"})
    charts = {chart.key: chart for chart, _csv in response.context["charts"]}
    assert set(charts) == {"value", "pieces", "balance", "symbols", "customers", "products", "tiers"}
    wrong = []
    for chart in charts.values():
        for row, url in zip(chart.rows, chart.urls, strict=True):
            shown = dict(zip(chart.columns, row, strict=True))
            totals = client.get(url).context["totals"]
            for column, value in (("Trades", totals.trades), ("Bought", totals.bought), ("Sold", totals.sold)):
                if shown.get(column, value) != value:
                    wrong.append((chart.key, row[0], column, shown[column], value))
    assert wrong == []
