"""Measures the throughput of the binlog follower and its latency from raw SQL to MongoDB. `python -m bench.follow`

bare: reads the same log with the same library, reads the rows by key, and replaces their documents in bulks of 1,000.
It compares no versions, keeps no position, and loses rows when it is killed.
follow: the follower, which delivers the rows.
each row: what a simple follower does: it writes each row to MongoDB on its own.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from bson import ObjectId
from pymongo import ReplaceOne
from rich.console import Console

from bench.harness import ROOT, portal, print_ratios

BULK = 1000
WARM = 20  # changes that wait for the processes to start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal() as servers:
        assert servers.mariadb
        servers.mariadb.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        for rows_each in (1, 100):
            throughput(options.rows, rows_each, options.rounds)
        visible()


def write(count: int, rows_each: int, first: int) -> None:
    """Inserts accounts with raw SQL, in transactions of `rows_each` rows."""
    from django.db import connection

    with connection.cursor() as cursor:
        for start in range(first, first + count, rows_each):
            rows = ", ".join(
                f"('{number:024x}', {number}, 9000, '[\"Brokerage\", \"Commodity\"]', '{{}}')"
                for number in range(start, start + rows_each)
            )
            cursor.execute(
                f"INSERT INTO finance_account (_id, account_id, `limit`, products, extra) VALUES {rows}"  # noqa: S608
            )


def checkpoints() -> Any:
    """The follower's checkpoint, if it exists."""
    from sync.workers.models import Checkpoint
    from sync.workers.routes import Route

    return Checkpoint.objects.filter(name=Route.FOLLOW_BINLOG)


def rows_of(count: int) -> Iterator[dict[str, Any]]:
    """The next `count` rows of finance_account in the log after the follower's position."""
    from django.db import DEFAULT_DB_ALIAS
    from pymysqlreplication import BinLogStreamReader
    from pymysqlreplication.row_event import WriteRowsEvent

    from sync.binlog.server import Server

    server = Server(DEFAULT_DB_ALIAS)
    stream = BinLogStreamReader(
        connection_settings=server.read_as_replica(), server_id=4711, is_mariadb=True, blocking=True,
        auto_position=checkpoints().get().state["gtids"], only_events=[WriteRowsEvent],
        only_schemas=[server.database], only_tables=["finance_account"], enable_logging=False,
    )  # fmt: skip
    for event in stream:
        for row in event.rows:
            yield row["values"]
            count -= 1
        if count <= 0:
            break
    stream.close()


def replace(keys: list[str], target: Any) -> None:
    """Replaces the documents of these accounts, without any guard."""
    from django.db import connection

    with connection.cursor() as cursor:
        places = ", ".join(["%s"] * len(keys))
        cursor.execute(
            f"SELECT _id, account_id, `limit`, products FROM finance_account WHERE _id IN ({places})",  # noqa: S608
            keys,
        )
        rows = cursor.fetchall()
    documents = [
        {"_id": ObjectId(key), "account_id": number, "limit": limit, "products": json.loads(products)}
        for key, number, limit, products in rows
    ]
    target.bulk_write([ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in documents], ordered=False)


def throughput(count: int, rows_each: int, rounds: int) -> None:
    from finance.models import Account
    from sync.binlog.follower import Follower
    from sync.mongodb import client
    from sync.outbox.models import Change

    def follow(wanted: int) -> None:
        follower = Follower()
        thread = threading.Thread(target=follower.run)
        thread.start()
        while follower.handled < wanted:
            time.sleep(0.002)
        follower.stop.set()
        threads.append(thread)  # joined later: the time to stop is not measured

    threads: list[threading.Thread] = []
    Account.objects.all()._raw_delete("default")
    start_once(Follower)
    start_of_rows = checkpoints().get().state
    write(count, rows_each, first=1)

    def bare() -> None:
        log = rows_of(count)
        while keys := [values["_id"] for values in itertools.islice(log, BULK)]:
            replace(keys, target)

    def each_row() -> None:
        for values in rows_of(few):
            target.replace_one({"_id": values["_id"]}, values, upsert=True)

    target, mirrored = client.database()["each_row"], client.database()["accounts"]
    few = count // 10  # it is slow
    steps: list[tuple[str, Callable[[], None], int]] = [
        ("bare", bare, count), ("follow", lambda: follow(count), count), ("each row", each_row, few),
    ]  # fmt: skip
    times: dict[str, list[float]] = {"bare": [], "follow": [], "each row": []}
    for turn in range(rounds + 1):
        for name, act, rows in steps:
            checkpoints().update(state=start_of_rows)
            Change.objects.all().delete()
            for documents in (target, mirrored):
                documents.delete_many({})
            begun = time.perf_counter()
            act()
            if turn:
                times[name].append((time.perf_counter() - begun) / rows * 1000)
            for thread in threads:
                thread.join()
            threads.clear()
    title = f"{count:,} rows, {rows_each} per transaction: ms per row"
    print_ratios(title, times, ["bare"])
    rates = {name: 1000 / statistics.median(values) for name, values in times.items()}
    Console(width=120).print(*(f"{name}: {rate:,.0f} rows/s" for name, rate in rates.items()), sep=", ")


def start_once(kind: Any) -> None:
    """Runs the follower once so that it records its starting position."""
    checkpoints().delete()
    follower = kind()
    thread = threading.Thread(target=follower.run)
    thread.start()
    while not follower.place:
        time.sleep(0.01)
    follower.stop.set()
    thread.join()


def visible() -> None:
    """Measures the time from commit until a majority reader sees the row, with a follower and a relay by default."""
    from django.db import connection
    from pymongo.read_concern import ReadConcern

    from sync.mongodb import client
    from sync.outbox.models import Change

    Change.objects.all().delete()
    processes = [
        subprocess.Popen([sys.executable, "manage.py", "sync", command], cwd=ROOT, stderr=subprocess.DEVNULL)
        for command in ("follow-binlog", "relay")
    ]
    try:
        accounts = client.database()["accounts"].with_options(read_concern=ReadConcern("majority"))
        took = []
        for number in range(WARM + 300):
            with connection.cursor() as cursor:
                cursor.execute("UPDATE finance_account SET `limit` = %s WHERE _id = %s", [number, f"{1:024x}"])
            begun = time.perf_counter()
            while not accounts.find_one({"_id": ObjectId(f"{1:024x}"), "limit": number}):
                time.sleep(0.0005)
            took.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.01 * (number % 7))
        cuts = statistics.quantiles(took[WARM:], n=100)
        title = "From the commit of raw SQL to majority readers, default settings"
        Console(width=120).print(f"{title}: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


if __name__ == "__main__":
    main()
