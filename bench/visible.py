"""Measures how long after commit a change is readable in MongoDB, compared with a plain write.

`python -m bench.visible`

ours: from commit until inline delivery has written the document; from then on local readers see it.
ours, majority: the same until a reader with the read concern "majority" sees it.
by a relay: inline delivery is off. Measured until a local reader sees the change.
bare write: one replace with a reused client, acknowledged by the primary or by the majority.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from bench.harness import portal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=1000)
    options = parser.parse_args()
    with portal():
        measure(options.saves)


def measure(saves: int) -> None:
    from django.conf import settings
    from django.db import connections, transaction
    from pymongo.read_concern import ReadConcern
    from pymongo.write_concern import WriteConcern

    from finance.models import Account
    from sync.mapping.registry import Target
    from sync.mongodb import client
    from sync.outbox.relay import Relay

    row = Account.objects.create(account_id=1, limit=0, products=["Derivatives", "InvestmentStock"])
    documents = client.collection(Target(Account))
    agreed = documents.with_options(read_concern=ReadConcern("majority"))
    copies = client.database()["bare"]
    document = row.to_document()
    copies.insert_one(document)
    committed = 0.0

    def note() -> None:
        nonlocal committed
        committed = time.perf_counter()

    def inline() -> float:
        with transaction.atomic():
            transaction.on_commit(note)  # runs before the delivery that save() schedules
            row.limit += 1
            row.save()
        return time.perf_counter() - committed

    def inline_majority() -> float:
        inline()
        while agreed.find_one({"_id": document["_id"]}, {"limit": 1, "_id": 0}) != {"limit": row.limit}:
            time.sleep(0.0005)
        return time.perf_counter() - committed

    def by_relay() -> float:
        row.limit += 1
        row.save()
        start = time.perf_counter()
        while documents.find_one({"_id": document["_id"]}, {"limit": 1}) != {
            "_id": document["_id"],
            "limit": row.limit,
        }:
            time.sleep(0.001)
        return time.perf_counter() - start

    def bare(concern: int | str) -> Callable[[], float]:
        target = copies.with_options(write_concern=WriteConcern(concern))

        def write() -> float:
            document["limit"] += 1
            start = time.perf_counter()
            target.replace_one({"_id": document["_id"]}, document)
            return time.perf_counter() - start

        return write

    times: dict[str, list[float]] = {}
    variants = {
        "bare write, w:1": bare(1), "bare write, majority": bare("majority"), "ours": inline,
        "ours, majority": inline_majority,
    }  # fmt: skip
    for name in variants:
        times[name] = []
    for number in range(saves + 20):
        for name, act in variants.items():
            took = act() * 1000
            if number >= 20:
                times[name].append(took)

    def run() -> None:
        relay.run()
        connections.close_all()

    settings.SYNC_INLINE = False
    relay = Relay()
    thread = threading.Thread(target=run)
    thread.start()
    times["by a relay"] = [by_relay() * 1000 for _ in range(saves // 10)]
    relay.stop.set()
    thread.join()
    _print(times)


def _print(times: dict[str, list[float]]) -> None:
    table = Table("", "p50 ms", "p99 ms", "x bare p50", title="From commit to visible", title_justify="left")
    base = statistics.median(times["bare write, w:1"])
    for name, values in times.items():
        p50, p99 = statistics.median(values), statistics.quantiles(values, n=100)[98]
        table.add_row(name, f"{p50:.2f}", f"{p99:.2f}", f"{p50 / base:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
