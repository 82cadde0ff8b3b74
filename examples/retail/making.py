"""Made-up sales of the shape of MongoDB's sample data."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from typing import Any

from bson import Decimal128, ObjectId

STORES = ("Denver", "Seattle", "London", "Austin", "New York", "San Diego")
METHODS = ("In store", "Online", "Phone")
ITEMS = {
    "printer paper": ("office", "stationary"),
    "notepad": ("office", "writing", "school"),
    "pens": ("writing", "office", "school", "stationary"),
    "backpack": ("school", "travel", "kids"),
    "envelopes": ("stationary", "office", "general"),
    "binder": ("school", "general", "organization"),
    "laptop": ("electronics", "school", "office"),
}
FIRST_DAY = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)
DAYS = 5 * 365


def sales(faker: Any, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` documents; the same seed gives the same ones. faker: a Faker, which is seeded here."""
    chance = random.Random(seed)  # noqa: S311 (made-up data)
    faker.seed_instance(seed)
    for number in range(count):
        yield sale(faker, chance, ObjectId(f"{seed % 2**32:08x}{number:016x}"))


def sale(faker: Any, chance: random.Random, key: ObjectId) -> dict[str, Any]:
    return {
        "_id": key,
        "saleDate": FIRST_DAY + datetime.timedelta(milliseconds=chance.randrange(DAYS * 86_400_000)),
        "items": [_item(chance) for _ in range(chance.randint(1, 8))],
        "storeLocation": chance.choice(STORES),
        "customer": {
            "gender": chance.choice("MF"),
            "age": chance.randint(16, 75),
            "email": faker.ascii_safe_email(),
            "satisfaction": chance.randint(1, 5),
        },
        "couponUsed": chance.random() < 0.1,
        "purchaseMethod": chance.choice(METHODS),
    }


def _item(chance: random.Random) -> dict[str, Any]:
    name = chance.choice(list(ITEMS))
    # Cents as text, never by way of a float: 19.90 stays 19.90.
    price = Decimal128(f"{chance.randint(1, 200)}.{chance.randrange(100):02}")
    return {"name": name, "tags": list(ITEMS[name]), "price": price, "quantity": chance.randint(1, 10)}
