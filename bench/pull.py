"""Measures how fast documents are pulled, compared with plain reads and writes. `python -m bench.pull`

bare: find() in batches, conversion of each document to columns, and one INSERT per batch with executemany().
pull: the first pass, into an empty table. second pass: nothing differs. one by one: a query and a save per document in
a loop. followed: the same number of changed documents, through the change stream.
"""

import argparse
import json
import time
from typing import Any

from bench.harness import portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    import os

    os.environ["EXAMPLES"] = "retail"
    with portal():
        measure(options.documents, options.rounds)


def measure(count: int, rounds: int) -> None:
    from django.db import connection, models, transaction
    from faker import Faker

    from examples.retail.making import sales
    from examples.retail.models import Sale
    from sync.mapping.extended_json import ExtendedJSONEncoder
    from sync.mongodb.client import database
    from sync.replication.puller import Puller

    source = database()["sales"]
    source.insert_many(list(sales(Faker("en_US"), count, seed=1)))
    names = ["_id", "saleDate", "items", "storeLocation", "customer", "couponUsed", "purchaseMethod", "total", "extra"]
    columns = ", ".join(f"`{name}`" for name in names)
    insert = f"INSERT INTO retail_sale ({columns}) VALUES ({', '.join(['%s'] * len(names))})"  # noqa: S608

    def text(value: Any) -> str:
        return json.dumps(value, cls=ExtendedJSONEncoder)

    def row(one: dict[str, Any]) -> tuple[Any, ...]:
        total = sum(item["price"].to_decimal() * item["quantity"] for item in one["items"])
        return (
            str(one["_id"]), one["saleDate"].replace(tzinfo=None), text(one["items"]), one["storeLocation"],
            text(one["customer"]), one["couponUsed"], one["purchaseMethod"], total, "{}",
        )  # fmt: skip

    def bare() -> None:
        with connection.cursor() as cursor:
            batch = []
            for one in source.find(batch_size=500):
                batch.append(row(one))
                if len(batch) == 500:
                    with transaction.atomic():
                        cursor.executemany(insert, batch)
                    batch = []
            if batch:
                cursor.executemany(insert, batch)

    def one_by_one() -> None:
        rows: models.QuerySet[Sale] = models.QuerySet(Sale)
        for one in source.find(limit=few):
            sale = Sale.from_document(one)
            if not rows.filter(pk=sale.pk).exists():
                rows.bulk_create([sale])

    def empty() -> None:
        models.QuerySet(Sale)._raw_delete("default")

    def pull(full: bool) -> None:
        puller = Puller([Sale])
        puller.lease()
        try:
            if full:
                puller.pulls[0].rows.forget()
            puller.catch_up()
        finally:
            puller.release()

    def change() -> None:
        source.update_many({}, {"$inc": {"customer.age": 1}})

    few = count // 10  # it is slow
    steps = [
        ("bare", empty, bare), ("pull", empty, lambda: pull(True)), ("second pass", lambda: None, lambda: pull(True)),
        ("followed", change, lambda: pull(False)), ("one by one", empty, one_by_one),
    ]  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name, _, _ in steps}
    for turn in range(rounds + 1):
        for name, prepare, act in steps:
            prepare()
            start = time.perf_counter()
            act()
            took, pulled = time.perf_counter() - start, models.QuerySet(Sale).count()
            assert pulled == (few if name == "one by one" else count)
            if turn:
                times[name].append(took / pulled * 1000)
    print_ratios(f"{count:,} sales: ms per document", times, ["bare"])


if __name__ == "__main__":
    main()
