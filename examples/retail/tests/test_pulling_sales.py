"""5,000 sales are pulled and stay in sync while they change and the puller is killed repeatedly."""

import datetime
import json
import os
import random
import time
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId, json_util
from django.db import connection
from faker import Faker
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.database import Database

from examples.retail.making import sales
from examples.retail.tests.support import load, pull
from sync.mapping.bson_options import CODEC_OPTIONS
from sync.tests.support.processes import manage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]

PRICES_ARE_EXACT = Decimal("0.0001")


def rows() -> dict[str, dict[str, Any]]:
    """The table as documents, read with a plain cursor and converted by rules independent of the mirror."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM retail_sale")
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, values, strict=True)) for values in cursor]
    documents = {}
    for row in found:
        assert_total(row)
        moment = datetime.datetime.fromisoformat(str(row["saleDate"])).replace(tzinfo=datetime.UTC)
        parsed = {name: json.loads(row[name], object_hook=hook) for name in ("items", "customer", "extra")}
        documents[row["_id"]] = {
            "_id": ObjectId(row["_id"]), "saleDate": moment, "items": parsed["items"],
            "storeLocation": row["storeLocation"], "customer": parsed["customer"],
            "couponUsed": bool(row["couponUsed"]), "purchaseMethod": row["purchaseMethod"], **parsed["extra"],
        }  # fmt: skip
    return documents


def hook(data: dict[str, Any]) -> Any:
    return json_util.object_hook(data, json_util.JSONOptions(tz_aware=True))


def assert_total(row: dict[str, Any]) -> None:
    items = json.loads(row["items"], object_hook=hook)
    cost = sum((item["price"].to_decimal() * item["quantity"] for item in items), Decimal())
    assert Decimal(str(row["total"])) == cost


def differences(mongo: Database) -> list[str]:
    """The keys whose row is missing, extra, or differs from its document in any byte of BSON."""
    found = {str(one["_id"]): one for one in mongo.get_collection("sales", codec_options=CODEC_OPTIONS).find()}
    wanted = rows()
    both = found.keys() & wanted.keys()
    return sorted(found.keys() ^ wanted.keys()) + [
        key for key in both if bson.encode(ordered(found[key])) != bson.encode(ordered(wanted[key]))
    ]


def ordered(document: dict[str, Any]) -> dict[str, Any]:
    """Sorts the top-level fields by name, because rows have the model's order. Nested fields keep their order."""
    return dict(sorted(document.items()))


def wait_until_equal(mongo: Database) -> None:
    end = time.monotonic() + 90
    while (wrong := differences(mongo)) and time.monotonic() < end:
        time.sleep(0.3)
    assert wrong == []


def test_the_first_pull_creates_every_row(mongo: Database) -> None:
    load(mongo, 5000)
    assert pull("--once") == ""
    assert differences(mongo) == []
    assert len(rows()) == 5000


def test_prices_keep_their_digits(mongo: Database) -> None:
    document = load(mongo, 1)[0]
    prices = ["40.010", "0.00", "1E+3", "-0.5"]
    items = [{"name": "x", "tags": [], "price": Decimal128(price), "quantity": Int64(2)} for price in prices]
    mongo["sales"].update_one({"_id": document["_id"]}, {"$set": {"items": items}})
    assert pull("--once") == ""
    assert [str(item["price"]) for item in rows()[str(document["_id"])]["items"]] == prices


def test_a_puller_killed_repeatedly_ends_in_sync(mongo: Database) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    keys = [document["_id"] for document in load(mongo, 5000)]
    chance.shuffle(keys)
    changes: list[Any] = [
        UpdateOne({"_id": key}, {"$set": {"storeLocation": f"Store {number}"}, "$push": {"items": {
            "name": "gift", "tags": [], "price": Decimal128(f"{number}.10"), "quantity": 1}}})
        for number, key in enumerate(keys[:1000])
    ]  # fmt: skip
    changes += [DeleteOne({"_id": key}) for key in keys[1000:1500]]
    changes += [InsertOne(document) for document in sales(Faker("en_US"), 500, seed=2)]
    chance.shuffle(changes)
    with manage("sync", "pull", "sale") as puller:
        for start in range(0, len(changes), 200):
            mongo["sales"].bulk_write(changes[start : start + 200], ordered=True)
            time.sleep(0.8 + 1.5 * chance.random())  # the puller takes half a second to start
            puller.kill()
            puller.start()
        wait_until_equal(mongo)
        mongo["sales"].update_many({"couponUsed": True}, {"$set": {"couponUsed": False}})
        wait_until_equal(mongo)
        assert puller.terminate(30) == 0
    assert len(rows()) == 5000
