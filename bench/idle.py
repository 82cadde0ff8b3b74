"""Measures the processor time of the workers: idle, and with a gentle load. `python -m bench.idle`

`sync run` runs a relay, a follower and their tasks with the default settings. idle: nothing happens. gentle: 50 rows
per second are changed, each in its own transaction, by the ORM without inline delivery, or by raw SQL. The time is that
of the process with all its threads; the databases' time is not included.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from bench.harness import ROOT, portal

RATE = 50  # changes per second
SETTLES = 6.0  # seconds until the processes have started and delivered what there was
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12, help="for each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal() as servers:
        assert servers.mariadb
        servers.mariadb.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        measure(options.seconds, options.rounds)


@contextmanager
def workers() -> Iterator[int]:
    """The id of the process that runs all workers."""
    command = [sys.executable, "manage.py", "sync", "run"]
    settings = {**os.environ, "SYNC_FOLLOW_BINLOG": "1"}
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=settings)
    try:
        time.sleep(SETTLES)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def used(pid: int) -> float:
    """The seconds of processor time that a process has used, with all its threads."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def gentle(seconds: float, change: Callable[[int], None]) -> int:
    """Changes RATE rows per second; returns how many."""
    began, count = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        if count < now * RATE:
            change(count)
            count += 1
        else:
            time.sleep(0.002)
    return count


def measure(seconds: float, rounds: int) -> None:
    from django.conf import settings
    from django.db import connection

    from finance.models import Account

    settings.SYNC_INLINE = False
    row = Account.objects.create(account_id=1, limit=0, products=[])

    def by_orm(number: int) -> None:
        row.limit = number
        row.save()

    def by_sql(number: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE finance_account SET `limit` = %s WHERE _id = %s", [-number, row.pk])

    loads: dict[str, Callable[[], int]] = {
        "idle": lambda: time.sleep(seconds) or 0,  # type: ignore[func-returns-value]
        "gentle, ORM": lambda: gentle(seconds, by_orm),
        "gentle, SQL": lambda: gentle(seconds, by_sql),
    }
    table = Table("", "ms per second, median", "min", "max", "s for 10,000 changes", title_justify="left")
    with workers() as pid:
        for name, load in loads.items():
            per_second, counts = [], []
            for _ in range(rounds):
                before, began = used(pid), time.monotonic()
                counts.append(load())
                per_second.append((used(pid) - before) / (time.monotonic() - began) * 1000)
            middle, rate = statistics.median(per_second), sum(counts) / rounds / seconds
            cost = f"{middle / rate * 10:.1f}" if rate else ""
            table.add_row(name, *[f"{each:.1f}" for each in (middle, min(per_second), max(per_second))], cost)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
