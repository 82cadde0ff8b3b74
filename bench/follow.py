"""How fast the binary log is followed, and how soon a row changed by raw SQL is in MongoDB. `python -m bench.follow`

bare: the same log, read with the same library, every row decoded, and nothing done with it.
follow: read, and a change recorded for each row, with the position. each row: what a simple follower does instead of
recording changes: it writes each row to MongoDB as it reads it, by itself.
"""

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from bench.harness import ROOT, portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interval", type=float, default=0.05, help="the relay's, in seconds (default: %(default)s)")
    options = parser.parse_args()
    with portal() as servers:
        assert servers.mariadb
        servers.mariadb.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        for rows_each in (1, 100):
            throughput(options.rows, rows_each, options.rounds)
        visible(options.interval)


def write(count: int, rows_each: int, first: int) -> None:
    """Accounts by raw SQL, in transactions of `rows_each` rows."""
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
    """The follower's, if there is one."""
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


def throughput(count: int, rows_each: int, rounds: int) -> None:
    from finance.models import Account
    from sync.binlog.follower import Follower
    from sync.mongodb import client
    from sync.outbox.models import Change

    def follow(wanted: int) -> None:
        follower = Follower()
        thread = threading.Thread(target=follower.run)
        thread.start()
        while follower.recorded < wanted:
            time.sleep(0.002)
        follower.stop.set()
        threads.append(thread)  # what it takes to stop is not following

    threads: list[threading.Thread] = []
    Account.objects.all()._raw_delete("default")
    follow_begins(Follower)
    start_of_rows = checkpoints().get().state
    write(count, rows_each, first=1)

    def bare() -> None:
        assert sum(1 for _ in rows_of(count)) == count

    def each_row() -> None:
        for values in rows_of(few):
            target.replace_one({"_id": values["_id"]}, values, upsert=True)

    target = client.database()["each_row"]
    few = count // 10  # it takes long
    steps: list[tuple[str, Callable[[], None], int]] = [
        ("bare", bare, count), ("follow", lambda: follow(count), count), ("each row", each_row, few),
    ]  # fmt: skip
    times: dict[str, list[float]] = {"bare": [], "follow": [], "each row": []}
    for turn in range(rounds + 1):
        for name, act, rows in steps:
            checkpoints().update(state=start_of_rows)
            Change.objects.all().delete()
            target.drop()
            begun = time.perf_counter()
            act()
            if turn:
                times[name].append((time.perf_counter() - begun) / rows * 1000)
            for thread in threads:
                thread.join()
            threads.clear()
    title = f"{count:,} rows, {rows_each} a transaction: ms a row"
    print_ratios(title, times, ["bare"])
    rates = {name: 1000 / statistics.median(values) for name, values in times.items()}
    Console(width=120).print(*(f"{name}: {rate:,.0f} rows/s" for name, rate in rates.items()), sep=", ")


def follow_begins(kind: Any) -> None:
    """A first start, which takes the position."""
    checkpoints().delete()
    follower = kind()
    thread = threading.Thread(target=follower.run)
    thread.start()
    while not follower.place:
        time.sleep(0.01)
    follower.stop.set()
    thread.join()


def visible(interval: float) -> None:
    """From the commit of one row until MongoDB shows it, with a follower and a relay of their own processes."""
    from django.db import connection

    from sync.mongodb import client
    from sync.outbox.models import Change

    Change.objects.all().delete()
    calls = (
        "from django.core.management import call_command; call_command('sync', 'follow-binlog')",
        f"from sync.outbox.relay import Relay; Relay(interval={interval}).run()",
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", f"import django; django.setup(); {call}"], cwd=ROOT) for call in calls
    ]
    try:
        accounts, took = client.database()["accounts"], []
        for number in range(320):
            with connection.cursor() as cursor:
                cursor.execute("UPDATE finance_account SET `limit` = %s WHERE _id = %s", [number, f"{1:024x}"])
            begun = time.perf_counter()
            while not accounts.find_one({"_id": {"$exists": True}, "account_id": 1, "limit": number}):
                time.sleep(0.001)
            took.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.01 * (number % 7))
        cuts = statistics.quantiles(took[20:], n=100)  # the first ones wait for the processes to start
        told = f"From commit to MongoDB, a relay looking every {interval * 1000:.0f} ms"
        Console(width=120).print(f"{told}: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


if __name__ == "__main__":
    main()
