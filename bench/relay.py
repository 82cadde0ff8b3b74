"""Measures how fast pending changes are delivered, compared with plain bulk replaces. `python -m bench.relay`

bare: replaces prepared documents in bulks of 500 with majority writes.
bare, compared: the same, but each write first compares versions: the minimum that a safe delivery has to do.
relay: changes of existing documents are claimed, read, compared, written and deleted by the default two threads.
two relays: the same in two processes with one thread each. one relay, one thread: the same in one thread.
backfill: the same rows as key ranges, in two threads. row by row: one read and one write per row with one client.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

from bench.harness import portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000], help="small documents (0.3 kB)")
    parser.add_argument("--large", type=int, nargs="*", default=[5000], help="large documents (10 kB)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal():
        for rows in options.rows:
            measure(f"{rows:,} small documents (0.3 kB)", 200, rows, options.rounds)
        for rows in options.large:
            measure(f"{rows:,} large documents (10 kB)", 10_000, rows, options.rounds)


def measure(name: str, size: int, count: int, rounds: int) -> None:
    import pymongo
    from django.db import connections
    from django.test import override_settings

    from finance.models import Account
    from sync.mapping.registry import Target
    from sync.mongodb import client
    from sync.outbox import backfill
    from sync.outbox.models import Change
    from sync.outbox.relay import Relay

    settings = override_settings(SYNC_INLINE=False)
    settings.enable()
    Account.objects.all()._raw_delete("default")
    Change.objects.all()._raw_delete("default")
    client.collection(Target(Account)).drop()
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        Account.objects.bulk_create([Account(account_id=number, limit=0, products=["x" * size]) for number in numbers])
    Relay().drain()
    target = client.database()["bare"]
    target.drop()
    documents = [{**row.to_document(), "_sync": {"v": 0, "by": "0" * 24}} for row in Account.objects.all()]
    for start in range(0, count, 500):
        target.insert_many(documents[start : start + 500])
    turn = 0

    def in_bulks(operation: Callable[[dict[str, Any]], Any]) -> None:
        for start in range(0, count, 500):
            target.bulk_write([operation(one) for one in documents[start : start + 500]], ordered=False)

    def new(one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "limit": turn, "_sync": {"v": turn, "by": "0" * 24}}

    def bare() -> None:
        in_bulks(lambda one: pymongo.ReplaceOne({"_id": one["_id"]}, new(one)))

    def compared() -> None:
        def operation(one: dict[str, Any]) -> pymongo.UpdateOne:
            other = new(one) | {"limit": -turn}  # MongoDB skips a write that changes nothing
            document = {"$cond": [{"$ne": ["$_sync.v", -1]}, {"$literal": other}, "$$ROOT"]}
            return pymongo.UpdateOne({"_id": one["_id"]}, [{"$replaceWith": document}])

        in_bulks(operation)

    def drain(number: int) -> None:
        Relay(threads=number).drain()
        assert not Change.objects.exists()

    def processes() -> None:
        connections.close_all()
        children = []
        both = multiprocessing.get_context("fork").Barrier(2)
        for _ in range(2):
            if not (child := os.fork()):
                relay = Relay()
                relay.heartbeat.write()
                both.wait()  # each knows the other, and delivers its half
                relay.drain()
                relay.heartbeat.end()
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        assert not Change.objects.exists()

    def row_by_row() -> None:
        for pk in Account.objects.values_list("pk", flat=True)[:500]:
            row = Account.objects.get(pk=pk)
            document = row.to_document()
            target.replace_one({"_id": document["_id"]}, document | {"n": turn}, upsert=True)

    def touch() -> None:
        for start in range(0, count, 5000):
            Account.objects.filter(account_id__gte=start, account_id__lt=start + 5000).update(limit=turn)

    def plan() -> None:
        Change.objects.all()._raw_delete("default")
        backfill.plan(Target(Account))

    def nothing() -> None:
        pass

    steps: list[tuple[str, Callable[[], None], Callable[[], None], int]] = [
        ("bare", nothing, bare, count),
        ("bare, compared", nothing, compared, count),
        ("relay", touch, lambda: drain(2), count),
        ("one relay, one thread", touch, lambda: drain(1), count),
        ("two relays", touch, processes, count),
        ("backfill", plan, lambda: drain(2), count),
        ("row by row", nothing, row_by_row, min(count, 500)),
    ]
    times: dict[str, list[float]] = {what: [] for what, *_ in steps}
    for turn in range(1, rounds + 2):
        for what, prepare, act, rows in steps:
            prepare()
            begun = time.perf_counter()
            act()
            if turn > 1:
                times[what].append((time.perf_counter() - begun) / rows * 1000)
    settings.disable()
    print_ratios(f"{name}: ms per document", times, ["bare", "one relay, one thread"])


if __name__ == "__main__":
    main()
