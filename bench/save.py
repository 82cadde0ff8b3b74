"""Measures saving one row: plain, the minimum for two databases, a typical dual write, and ours. `python -m bench.save`

floor: a plain save, then one majority write of the same document with a reused client.
own client per save: MongoDB first with a new client, then MySQL, as dual writes are often implemented.
"""

import argparse
from typing import Any

from bench.harness import compare, plain_model, portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=50, help="saves per round and variant")
    options = parser.parse_args()
    with portal():
        measure(options.rounds, options.repeat)


def measure(rounds: int, repeat: int) -> None:
    import pymongo
    from bson import ObjectId
    from django.conf import settings

    from finance.models import Account
    from sync.mongodb import client as mongo

    Plain = plain_model()
    values = {"account_id": 1, "limit": 9000, "products": ["Derivatives", "InvestmentStock"]}
    plain_row, row = Plain.objects.create(**values), Account.objects.create(**values)
    database = mongo.database()
    document = Account.objects.get().to_document() | {"_id": ObjectId(plain_row.pk)}
    database.plain.insert_one(document)

    def plain() -> None:
        plain_row.limit += 1
        plain_row.save()

    def changed() -> dict[str, Any]:
        # MongoDB writes nothing if the new document is identical.
        return {**document, "limit": plain_row.limit}

    def floor() -> None:
        plain()
        database.plain.replace_one({"_id": document["_id"]}, changed())

    def own_client() -> None:
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(settings.MONGODB_URI)
        client.get_default_database().plain.update_one({"_id": document["_id"]}, {"$set": changed()}, upsert=True)
        plain()

    def ours() -> None:
        row.limit += 1
        row.save()

    def ours_later() -> None:
        settings.SYNC_INLINE = False
        ours()
        settings.SYNC_INLINE = True

    variants = {"plain": plain, "floor": floor, "own client per save": own_client, "ours": ours}
    times = compare({**variants, "ours, inline off": ours_later}, rounds, repeat)
    print_ratios("Updating one row", times, ["plain", "floor", "own client per save"])

    def create_plain() -> None:
        Plain.objects.create(**values)

    def create_floor() -> None:
        create_plain()
        database.plain.insert_one({**document, "_id": ObjectId()})

    def create_own_client() -> None:
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(settings.MONGODB_URI)
        client.get_default_database().plain.insert_one({**document, "_id": ObjectId()})
        create_plain()

    def create_ours() -> None:
        Account.objects.create(**values)

    times = compare(
        {"plain": create_plain, "floor": create_floor, "own client per save": create_own_client, "ours": create_ours},
        rounds, repeat,
    )  # fmt: skip
    print_ratios("Creating one row", times, ["plain", "floor", "own client per save"])


if __name__ == "__main__":
    main()
