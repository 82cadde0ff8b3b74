"""Totals over documents with unexpected types: unreadable ones are counted and listed, and the rest is added up."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from pymongo.database import Database

from finance import aggregations, report_cache
from finance.models import CachedReport
from finance.narrowing import ALL
from finance.tests.damage import damage
from finance.tests.people import DAY, customer, user
from sync.outbox.relay import Relay

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

ODD: list[Any] = [
    None, "text", 7, 1.5, True, [], {}, [None, 1, "x", [], {}], {"a": 1}, {"a": {"active": True, "tier": {"x": 1}}},
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), ObjectId(), Decimal128("NaN"), float("nan"), Int64(2**62),
    b"\0", bson.MinKey(), bson.MaxKey(), bson.Regex("x"), bson.Timestamp(1, 1),
]  # fmt: skip


@pytest.fixture
def odd(mongo: Database) -> Database:
    """One valid customer with two trades, and documents with an unexpected value in each of their fields."""
    customer("Own", [1])
    Relay().drain()
    good = {name: mongo[name].find_one() for name in ("accounts", "customers", "transactions")}
    for name, document in good.items():
        assert document is not None
        fields = [field for field in document if field not in ("_id", "_sync")]
        documents = [document | {"_id": ObjectId(), field: value} for field in fields for value in ODD]
        lacking = [{key: value for key, value in document.items() if key != field} for field in fields]
        documents += [document | {"_id": ObjectId()} for document in lacking]
        if name == "transactions":
            [trade, _other] = document["transactions"]
            odd_trades = [trade | {field: value} for field in trade for value in ODD]
            documents.append(document | {"_id": ObjectId(), "transactions": odd_trades})
        # Another account number keeps their readable parts apart from the valid customer's.
        for each in documents:
            if name == "customers" and each.get("accounts") == [1]:
                each["accounts"] = [99]
            elif each.get("account_id") == 1:
                each["account_id"] = 99
        mongo[name].insert_many(documents)
    return mongo


def test_totals_omit_and_count_unreadable_documents(odd: Database) -> None:
    found = aggregations.totals()
    assert {name: found["unread"][name]["count"] > 10 for name in ("accounts", "customers", "transactions")} == {
        "accounts": True, "customers": True, "transactions": True,
    }  # fmt: skip
    assert len(found["unread"]["accounts"]["first"]) == 5
    assert sum(cell[3] for cell in found["symbols"] if cell[1] == "tsla") >= 1
    for *_key, value, _unvalued in found["symbols"]:
        assert Decimal(value).is_finite()


def test_dates_and_booleans_are_not_added_up(mongo: Database) -> None:
    """MongoDB would convert both to numbers, a date to a very large one."""
    customer("Own", [1])
    Relay().drain()
    [good] = mongo.transactions.find()
    for total in (DAY, True):
        trades = [trade | {"total": total} for trade in good["transactions"]]
        mongo.transactions.insert_one(good | {"_id": ObjectId(), "transactions": trades})
    found = aggregations.totals()
    assert sum(Decimal(cell[5]) for cell in found["symbols"]) == Decimal("27.5")
    assert sum(cell[6] for cell in found["symbols"]) == 4
    assert found["unread"]["transactions"]["count"] == 0


def test_top_customers_and_the_dashboard_survive_unreadable_documents(odd: Database, client: Client) -> None:
    long_ago, far = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (1000, 3000))
    for _id, name, _trades, _pieces, _value in aggregations.top_customers(long_ago, far, ALL):
        assert isinstance(name, str)
    client.force_login(user("manager"))
    with pytest.raises(CommandError) as refused:
        call_command("refresh_totals", stdout=io.StringIO())
    assert refused.value.returncode == 1
    assert "documents of accounts could not be read in full" in str(refused.value)
    page = client.get(reverse("finance:totals_dashboard"))
    assert page.status_code == 200
    assert "records could not be read in full" in page.content.decode()


def test_totals_damaged_by_sql_are_computed_again(mongo: Database, client: Client) -> None:
    customer("Own", [1])
    Relay().drain()
    call_command("refresh_totals", stdout=io.StringIO())
    for value in ("5", "{}", "null"):
        damage("finance_cachedreport", "data", value)
        assert report_cache.of_totals(compute=False).data is None
    if connection.vendor == "sqlite":
        damage("finance_cachedreport", "data", "[broken")
    client.force_login(user("manager"))
    assert client.get(reverse("finance:totals_dashboard")).status_code == 200
    call_command("refresh_totals", stdout=io.StringIO())
    assert CachedReport.objects.get(key="totals").data["accounts"] == 1
