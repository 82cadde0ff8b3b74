"""Measures the processor time of the workers: idle, and with a gentle load. `python -m bench.idle`

A relay and a follower run with their default settings. idle: nothing happens. gentle: 50 rows per second are changed,
each in its own transaction, by the ORM without inline delivery, or by raw SQL. The time is that of both processes with
all their threads; the databases' time is not included.
"""

import argparse
import os
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
    parser.add_argument("--seconds", type=float, default=30, help="for each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal() as servers:
        assert servers.mariadb
        servers.mariadb.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
        measure(options.seconds, options.rounds)


@contextmanager
def workers() -> Iterator[list[int]]:
    """The ids of a relay's and a follower's process."""
    processes = [
        subprocess.Popen([sys.executable, "manage.py", "sync", command], cwd=ROOT, stderr=subprocess.DEVNULL)
        for command in ("relay", "follow-binlog")
    ]
    try:
        time.sleep(SETTLES)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
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
    table = Table("", "ms per second: relay", "follower", "both", "s for 10,000 changes", title_justify="left")
    with workers() as pids:
        for name, load in loads.items():
            per_second: list[list[float]] = []
            counts = []
            for _ in range(rounds):
                before, began = [used(pid) for pid in pids], time.monotonic()
                counts.append(load())
                took = time.monotonic() - began
                per_second.append([(used(pid) - old) / took * 1000 for pid, old in zip(pids, before, strict=True)])
            relay, follower = (sum(each) / rounds for each in zip(*per_second, strict=True))
            both, rate = relay + follower, sum(counts) / rounds / seconds
            cost = f"{both / rate * 10:.1f}" if rate else ""
            table.add_row(name, f"{relay:.1f}", f"{follower:.1f}", f"{both:.1f}", cost)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
